"""Comparisons made up for tests of what shows them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np

from chord.compare.model import Comparison, Curve, Difference, LeftOut, Run, RunGroup, ShownAnswer
from chord.evaluation.statistics import Estimate
from chord.run.files import FAILED, FINISHED

METRICS = ("test/target_accuracy", "test/retained/mean", "test/rl_reward", "test/expert_nll")
CURVES = (
    "alpha", "val/target_accuracy", "val/retained/mean", "val/balance_at_0.5", "rollout/reward",
    "rollout/entropy", "loss/sft", "loss/rl", "grad/norm", "weight/ess",
)  # fmt: skip
SCHEDULES = ("linear", "cosine", "exponential", "step", "constant")
WEIGHTINGS = ("none", "phi", "entropy", "margin", "adaptive")
BASE = dict(zip(METRICS, (0.21, 0.93, 0.24, 2.31), strict=True))


def estimate(values: list[float]) -> Estimate:
    mean, n = float(np.mean(values)), len(values)
    half = 2.5 * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def answer(number: int, label: str, right: bool) -> ShownAnswer:
    return ShownAnswer(
        problem=f"Problem {number}: what is {number} + {3 * number}?",
        expert=f"{number} + {3 * number} = {4 * number}",
        text=f"{label}: {number} and {3 * number} make {4 * number + (not right)}",
        right=right,
    )


def run(label: str, choices: dict[str, str], seed: int, *, steps: int, skill: float) -> Run:
    random = np.random.default_rng([seed, len(label), int(skill * 1000)])
    grid = list(range(steps))
    rise = 1 - np.exp(-np.arange(steps) / (0.3 * steps))
    noise = random.normal(0, 0.03, size=(len(CURVES), steps)) + random.normal(0, 0.02)
    curves = {
        name: Curve(steps=grid, values=(skill * rise + row).tolist())
        for name, row in zip(CURVES, noise, strict=True)
    }
    shares = {"linear": 1 - 0.8 * np.arange(steps) / steps, "step": np.arange(steps) < steps / 2}
    alpha = shares.get(choices.get("schedule", ""), np.full(steps, 0.3)).astype(float)
    curves["alpha"] = Curve(steps=grid, values=alpha.tolist())
    every = list(range(0, steps, max(steps // 20, 1)))
    for name in CURVES[1:4]:
        values = curves[name].values
        curves[name] = Curve(steps=every, values=[values[step] for step in every])
    offset = float(random.normal(0, 0.02))
    peak = SCHEDULES.index(choices["schedule"]) if choices.get("schedule") in SCHEDULES else 0
    final = dict(
        zip(METRICS, (skill + offset, 1.1 - skill / 2 - offset, skill, 3 - skill), strict=True)
    )
    return Run(
        path=f"outputs/2026-01-31/12-00-00_sweep/{label}/{seed}", name=f"{label} seed={seed}",
        seed=seed, status=FINISHED, steps=steps, planned_steps=steps,
        settings={"optimizer.lr": 1e-3, "rollout.group_size": 8, **choices, "schedule.peak": peak},
        choices=choices, versions={"chord": "0.1.0", "torch": "2.13.0"},
        final=final, base=BASE, best={"val/target_accuracy": skill + 0.02}, best_step=every[-1],
        curves=curves,
        answers=[answer(number, label, (number + seed) % 3 > 0) for number in range(6)],
        base_answers=[answer(number, "base", number % 3 == 0) for number in range(6)],
        seconds=100 * (1 + skill) + seed, tokens={"sft": 120_000.0, "rl": 2_400_000.0 * skill},
    )  # fmt: skip


def group(runs: list[Run], label: str, varied: dict[str, str]) -> RunGroup:
    done = [one for one in runs if one.status == FINISHED]
    names = [name for name in METRICS if done and all(name in one.final for one in done)]
    final = {name: estimate([one.final[name] for one in done]) for name in names}
    return RunGroup(
        label=label, varied=varied, runs=runs, final=final,
        best={"val/target_accuracy": estimate([one.best["val/target_accuracy"] for one in done])}
        if done else {},
        differences={
            name: Difference(
                estimate=Estimate(
                    mean=one.mean - 0.5, low=one.low - 0.5, high=one.high - 0.5, n=one.n
                ),
                p=abs(one.mean - 0.5) / 20, p_holm=abs(one.mean - 0.5) / 5,
            )
            for name, one in final.items()
        },
        seconds=estimate([one.seconds for one in done]) if done else None,
        tokens=done[0].tokens if done else {}, missing=(),
    )  # fmt: skip


def sweep(*, schedules: int = 3, weightings: int = 3, rates: int = 1, seeds: int = 5,
          steps: int = 100) -> Comparison:  # fmt: skip
    """A group for each schedule, weighting and learning rate."""
    groups = []
    for number, (schedule, weighting, rate) in enumerate(
        product(SCHEDULES[:schedules], WEIGHTINGS[:weightings], range(rates))
    ):
        varied = {"schedule": schedule, "weighting": weighting}
        varied |= {"optimizer.lr": f"{rate + 1}e-4"} if rates > 1 else {}
        label = " ".join(f"{name}={value}" for name, value in varied.items())
        skill = 0.45 + 0.4 * abs(math.sin(1 + 1.7 * number))
        choices = {"schedule": schedule, "weighting": weighting}
        runs = [run(label, choices, seed, steps=steps, skill=skill) for seed in range(seeds)]
        settings = {**runs[0].settings, "optimizer.lr": (rate + 1) * 1e-4}
        runs = [replace(one, settings=settings) for one in runs]
        groups.append(group(runs, label, varied))
    return Comparison(
        title="schedules and weightings on the test bed", metrics=METRICS, groups=groups,
        baseline=groups[0].label, base=BASE,
        left_out=[LeftOut(what="outputs/old/3", reason="run.json is missing")],
        notes=["Seeds do not vary the base model: all runs started from one checkpoint."],
    )  # fmt: skip


def empty(**changes: object) -> Comparison:
    fields: dict[str, object] = {
        "title": "nothing", "metrics": (), "groups": (), "baseline": None, "base": {},
        "left_out": (), "notes": (),
    }  # fmt: skip
    return Comparison(**{**fields, **changes})  # type: ignore[arg-type]


def failed_run(seed: int, error: str = "ValueError: optimizer.lr=-1: must be above 0") -> Run:
    return Run(
        path=f"outputs/failed/{seed}", name=f"failed {seed}", seed=seed, status=FAILED, steps=0,
        planned_steps=100, settings={}, choices={"schedule": "linear"}, versions={}, final={},
        base={}, best={}, best_step=None, curves={}, error=error,
    )  # fmt: skip
