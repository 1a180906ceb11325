"""Where a run differs from its reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.build import build_models
from chord.config import TrainConfig, schema_names
from pairs import running
from pairs.bed import PairsData
from pairs.reference import Reference
from pairs.reference.step import Recorded

RELATIVE = 1e-9
ABSOLUTE = 1e-12


def differences(composed: DictConfig, config: TrainConfig, where: Path) -> list[str]:
    """Each number of a run that is not its reference's, and each bit that a kill has changed."""
    steps, resumed = running.run(composed, config, where)
    found = bits(steps[1], resumed)
    if running.rank() > 0:
        return found
    settings = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(settings, dict)
    data = PairsData(config.data.pairing)
    reference = Reference(
        settings, schema_names(composed), build_models(config), data, config.reward
    )
    for number, step in enumerate(steps):
        expected = reference.step(number, step)
        found += [f"step {number}: {each}" for each in compare(step, expected)]
    return found


def compare(run: Recorded, expected: Recorded) -> list[str]:
    found = numbers("metrics", run.metrics, expected.metrics)
    found += numbers("schedule", run.schedule_state, expected.schedule_state)
    if run.gate_state != expected.gate_state:
        found.append(f"waiting: {run.gate_state}, not {expected.gate_state}")
    for number, (row, other) in enumerate(zip(run.completions, expected.completions, strict=False)):
        shown = {name: row.get(name) for name in other}
        found += numbers(f"completion {number}", shown, other)
    if len(run.completions) != len(expected.completions):
        found.append("completions: not as many")
    if len(run.updates) != len(expected.updates):
        return [*found, "updates: not as many"]
    for number, (update, other) in enumerate(zip(run.updates, expected.updates, strict=True)):
        for name in ("gradient", "after"):
            gap = distance(getattr(update, name), getattr(other, name))
            if not gap <= RELATIVE:
                found.append(f"update {number}: {name} off by {gap:.1e}")
    return found


def distance(one: Any, other: Any) -> float:
    """The norm of the difference over the norm; of two zeros 0."""
    gap = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(one, other, strict=True)))
    norm = math.sqrt(sum(float(b.square().sum()) for b in other))
    return gap / norm if norm > ABSOLUTE else gap


def numbers(what: str, run: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    found = [f"{what}: {name} is missing" for name in sorted(expected.keys() - run.keys())]
    found += [f"{what}: {name} is too much" for name in sorted(run.keys() - expected.keys())]
    for name in sorted(run.keys() & expected.keys()):
        here, there = run[name], expected[name]
        if isinstance(here, float) and isinstance(there, float):
            same = math.isclose(here, there, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
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
