"""alpha of a step, by the schedule's name, and what a controller makes of its feedback."""

from __future__ import annotations

import math
from typing import Any

Settings = dict[str, Any]
State = dict[str, float]

OF_ROLLOUTS = ("reward_gap", "entropy", "gac")


def length(value: float, steps: int) -> float:
    """A share of the run below 1, a number of steps from 1 on."""
    return round(value * steps, 9) if value < 1 else float(value)


def half_cosine(high: float, low: float, q: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * min(q, 1.0))) / 2


def warmup_decay(s: Settings, step: int, steps: int) -> float:
    warmup, decay = length(s["warmup"], steps), length(s["decay"], steps)
    if step < warmup:
        return float(s["peak"] * step / warmup)
    if step < warmup + decay:
        return half_cosine(s["peak"], s["valley"], (step - warmup) / decay)
    return float(s["valley"])


def switch(s: Settings, steps: int) -> int:
    return math.ceil(min(length(s["switch_step"], steps), steps))


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
    q = min(step / steps, 1.0)
    if name == "constant":
        return float(s["value"])
    if name == "linear":
        return float(s["initial"] + (s["final"] - s["initial"]) * q)
    if name == "cosine":
        return half_cosine(s["initial"], s["final"], q)
    if name == "exponential":
        return float(s["final"] + (s["initial"] - s["final"]) * math.exp(-5 * q))
    if name == "warmup_decay":
        return warmup_decay(s, step, steps)
    if name == "step":
        return float(step < switch(s, steps))
    if name == "periodic":
        return float(step % s["period"] == s["period"] - 1)
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
