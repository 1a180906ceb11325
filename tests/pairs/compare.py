"""Where a run differs from its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.run.build import build_models
from pairs import running
from pairs.bed import PairsData
from pairs.reference import Reference
from pairs.reference.step import Recorded


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be off, relative to its size and as it is.

    `whole`: all of a step is compared. Else what does not hang on rounding: which metrics there
    are, that all are finite, alpha of open loops, counts, scores, the ratio of the first update.
    """

    relative: float
    absolute: float
    whole: bool = True


PRECISIONS = {
    "64-true": Tolerance(1e-9, 1e-12),
    "32-true": Tolerance(2e-3, 1e-5),
    "bf16-mixed": Tolerance(1e-5, 1e-6, whole=False),
}
COUNTED = (
    "lr", "rollout/score", "rollout/length", "rollout/no_eos", "rollout/all_right",
    "rollout/all_wrong", "rollout/problems", "rollout/rounds", "trained/problems",
    "trained/score", "trained/all_right", "trained/all_wrong", "gate/share", "gate/waiting",
    "gate/released", "tokens/sft", "tokens/rl", "tokens/off_policy",
)  # fmt: skip
"""Metrics that are the same in every precision, given the answers."""


def differences(composed: DictConfig, config: TrainConfig, where: Path) -> list[str]:
    """Each number of a run that is not its reference's, and each bit that a kill has changed."""
    steps, resumed = running.run(composed, config, where)
    found = bits(steps[1], resumed)
    if running.rank() > 0:
        return found
    settings = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(settings, dict)
    models = build_models(config)
    for model in (models.policy, models.teacher, models.reference):
        if model is not None:
            model.double()
    data = PairsData(config.data.pairing)
    reference = Reference(settings, schema_names(composed), models, data, config.reward)
    tolerance = PRECISIONS[config.trainer.precision]
    for number, step in enumerate(steps):
        expected = reference.step(number, step)
        if tolerance.whole:
            wrong = compare(step, expected, tolerance)
        else:
            wrong = compare_counted(config, step, expected, tolerance)
        found += [f"step {number}: {each}" for each in wrong]
    return found


def compare(run: Recorded, expected: Recorded, tolerance: Tolerance) -> list[str]:
    shown, wanted = dict(run.metrics), dict(expected.metrics)
    norms = [wanted.get(f"grad/{branch}_norm", 1.0) for branch in ("sft", "rl")]
    if min(norms) < tolerance.absolute:
        # A gradient that is 0 but for rounding has any direction.
        shown.pop("grad/cosine", None)
        wanted.pop("grad/cosine", None)
    clipped = "rl/clip_fraction"
    gap = abs(shown.get(clipped, 0.0) - wanted.get(clipped, 0.0))
    if expected.undecided and gap <= expected.undecided + tolerance.absolute:
        shown.pop(clipped, None)
        wanted.pop(clipped, None)
    found = numbers("metrics", shown, wanted, tolerance)
    found += numbers("schedule", run.schedule_state, expected.schedule_state, tolerance)
    if run.gate_state != expected.gate_state:
        found.append(f"waiting: {run.gate_state}, not {expected.gate_state}")
    for number, (row, other) in enumerate(zip(run.completions, expected.completions, strict=False)):
        shown = {name: row.get(name) for name in other}
        found += numbers(f"completion {number}", shown, other, tolerance)
    if len(run.completions) != len(expected.completions):
        found.append("completions: not as many")
    if len(run.updates) != len(expected.updates):
        return [*found, "updates: not as many"]
    for number, (update, other) in enumerate(zip(run.updates, expected.updates, strict=True)):
        # AdamW makes of a gradient that is all rounding a step of full length.
        names = ("gradient", "after") if tolerance.relative < 1e-6 else ("gradient",)
        for name in names:
            gap = distance(getattr(update, name), getattr(other, name), tolerance)
            if not gap <= tolerance.relative:
                found.append(f"update {number}: {name} off by {gap:.1e}")
    return found


def compare_counted(
    config: TrainConfig, run: Recorded, expected: Recorded, tolerance: Tolerance
) -> list[str]:
    names = {name for name in COUNTED if name in expected.metrics}
    if not config.schedule.needs:
        names.add("alpha")
    wanted = {name: expected.metrics[name] for name in names}
    shown = {name: run.metrics[name] for name in names & run.metrics.keys()}
    found = numbers("metrics", shown, wanted, tolerance)
    # A cosine needs two gradients, a bucket a token with that probability, an effective sample
    # weights above 0, a correction a mismatch that is large enough.
    loose = ("grad/cosine", "weight/p_", "weight/ess", "rollout/correction_")
    for one, other, how in ((run, expected, "too much"), (expected, run, "missing")):
        extra = one.metrics.keys() - other.metrics.keys()
        found += [f"metrics: {name} is {how}" for name in extra if not name.startswith(loose)]
    found += [f"metrics: {name} is {v}" for name, v in run.metrics.items() if not math.isfinite(v)]
    if config.rollout.updates == 1 and "rl/ratio" in run.metrics:
        same = {"rl/ratio": 1.0, "rl/approx_kl": 0.0, "rl/clip_fraction": 0.0}
        at_first = {name: run.metrics[name] for name in same if name in run.metrics}
        wanted = {name: same[name] for name in at_first}
        found += numbers("first update", at_first, wanted, Tolerance(0, 0))
    return found


def distance(one: Any, other: Any, tolerance: Tolerance) -> float:
    """The norm of the difference over the norm; of two zeros 0."""
    gaps = ((a.double() - b.double()) for a, b in zip(one, other, strict=True))
    gap = math.sqrt(sum(float(each.square().sum()) for each in gaps))
    norm = math.sqrt(sum(float(b.double().square().sum()) for b in other))
    return gap / norm if norm > tolerance.absolute else gap


def numbers(
    what: str, run: dict[str, Any], expected: dict[str, Any], tolerance: Tolerance
) -> list[str]:
    found = [f"{what}: {name} is missing" for name in sorted(expected.keys() - run.keys())]
    found += [f"{what}: {name} is too much" for name in sorted(run.keys() - expected.keys())]
    for name in sorted(run.keys() & expected.keys()):
        here, there = run[name], expected[name]
        if isinstance(here, float) and isinstance(there, float):
            close = {"rel_tol": tolerance.relative, "abs_tol": tolerance.absolute}
            same = math.isclose(here, there, **close)
        else:
            same = here == there
        if not same:
            found.append(f"{what}: {name} is {here}, not {there}")
    return found


def bits(one: Recorded, other: Recorded) -> list[str]:
    """What is not the same to the last bit."""
    found = []
    for name in ("metrics", "completions", "schedule_state", "gate_state", "calls"):
        if getattr(one, name) != getattr(other, name):
            found.append(f"kill: {name} differ")
    for name in ("gradient", "after"):
        pairs = zip(one.updates, other.updates, strict=True)
        if not all(
            (a == b).all()
            for mine, theirs in pairs
            for a, b in zip(getattr(mine, name), getattr(theirs, name), strict=True)
        ):
            found.append(f"kill: {name} differs")
    return found
