"""alpha of a step, by the schedule's name, and what a controller makes of its feedback."""

from __future__ import annotations

import math
from typing import Any

from rows.schedules import ROWS, length, warmup_decay

Settings = dict[str, Any]
State = dict[str, float]

OF_ROLLOUTS = ("reward_gap", "entropy", "gac")


def warm(s: Settings, steps: int) -> int:
    """The first step of `gradient_ratio` after its warm-up."""
    return max(1, math.ceil(length(s["warmup"], steps)))


def start(name: str, s: Settings, steps: int) -> State:
    if name == "entropy":
        return {"alpha": s["initial"]}
    if name == "gac":
        return {"alpha": min(s["high"], max(s["low"], warmup_decay(s, 0, steps)))}
    return {}


def observe(name: str, s: Settings, state: State, step: int, steps: int, seen: State) -> State:
    """The controller's state once it has read a step's feedback."""
    if name == "reward_gap":
        before = state.get("reward", seen["reward"])
        return {"reward": s["ema"] * before + (1 - s["ema"]) * seen["reward"]}
    if name == "entropy":
        moved = state["alpha"] + s["rate"] * (s["target"] - seen["entropy"])
        return {"alpha": min(s["high"], max(s["low"], moved))}
    if name == "gradient_ratio" and step >= warm(s, steps):
        return {"first": state.get("first", seen["sft_grad_norm"]), "norm": seen["sft_grad_norm"]}
    if name == "gac" and step % s["every"] == 0:
        names = ("advantage_variance", "nll_variance", "gap")
        means = {n: s["ema"] * state.get(n, seen[n]) + (1 - s["ema"]) * seen[n] for n in names}
        rl, sft, gap = (means[n] for n in names)
        total = rl + sft + gap
        best = (s["balance"] * gap + rl) / total if total > 0 else s["balance"]
        wanted = s["blend"] * best + (1 - s["blend"]) * warmup_decay(s, step, steps)
        wanted = min(s["high"], max(s["low"], wanted))
        moved = min(state["alpha"] + s["cap"], max(state["alpha"] - s["cap"], wanted))
        return means | {"alpha": moved}
    return state


def alpha_of(name: str, s: Settings, step: int, steps: int, state: State) -> float | None:
    """None where it is drawn: 0 or 1."""
    if (plain := ROWS[name].plain) is not None:
        return float(plain(s, step, steps))
    if name == "reward_gap":
        return min(1.0, max(0.0, s["tau"] - state["reward"]))
    if name in ("entropy", "gac"):
        return state["alpha"]
    assert name == "gradient_ratio", f"schedule={name} has no formula here"
    if step < warm(s, steps):
        return 1.0
    total = state["norm"] + s["gamma"] * state["first"]
    probability = state["norm"] / total if total > 0 else 0.0
    return None if s["draw"] else probability
