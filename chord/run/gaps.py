"""Rows that the files of a run should have, and lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from chord.run.files import COMPLETIONS, EVALUATIONS, METRICS, TIMINGS, Row, read_rows

SHOWN = 5
"""So many of what is lacking are named."""


def gaps(path: Path, config: Any, completed: int) -> Iterator[str]:
    """What the files of the run in `path` lack of its first `completed` train steps, in sentences.

    `config`: of the run, checked or not. The evaluation after the last of these steps is not asked
    for: a signal may have broken it off, and the run that goes on makes it. Raises ValueError where
    a file can't be read.
    """
    metrics = read_rows(path / METRICS)
    steps = range(completed)
    yield from lack(METRICS, "steps", steps, _steps(metrics))
    yield from lack(TIMINGS, "steps", steps, _steps(read_rows(path / TIMINGS)))
    every = config.evaluation.every
    due = range(0, completed, every) if every and validates(config) else ()
    yield from lack(EVALUATIONS, "evaluations, after steps", due, validated(path))
    every = config.trainer.completions_every
    sampled = {row["step"] for row in metrics if "rollout/reward" in row}
    kept = [step for step in (range(0, completed, every) if every else ()) if step in sampled]
    counts = Counter(_steps(read_rows(path / COMPLETIONS)))
    # As many answers are kept of each step.
    whole = {step for step, count in counts.items() if count == max(counts.values())}
    yield from lack(COMPLETIONS, "steps with answers", kept, whole)


def validates(config: Any) -> bool:
    """Whether a run, its configuration checked or not, holds problems out for validation."""
    try:
        return float(getattr(config.data, "validation", 1)) != 0
    except ValueError:
        return True  # a file


def lack(name: str, what: str, due: Sequence[int], found: Collection[Any]) -> Iterator[str]:
    """The sentence that says which of the steps that are due in a file were not found there."""
    missing = [step for step in due if step not in found]
    if missing:
        shown = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        yield f"{name} lacks {len(missing)} of {len(due)} {what}: {shown}"


def validated(path: Path) -> set[Any]:
    """After which steps the model in training was evaluated on the validation split."""
    rows = read_rows(path / EVALUATIONS)
    return {row.get("step") for row in rows if (row.get("split"), row.get("model")) == _VALIDATION}


def reports_lacking(path: Path, config: Any) -> list[str]:
    """Which of its last evaluations a run that has ended lacks, in words."""
    split = "test" if config.evaluation.test else "val"
    due = [(0, split, "base"), (config.steps, split, "trained")]
    if validates(config):
        due.insert(0, (config.steps, *_VALIDATION))
    found = {
        (row.get("step"), row.get("split"), row.get("model"))
        for row in read_rows(path / EVALUATIONS)
    }
    lacking = [each for each in dict.fromkeys(due) if each not in found]
    return [f"of the {model} model on {split}" for _, split, model in lacking]


_VALIDATION = ("val", "trained")


def _steps(rows: Sequence[Row]) -> list[Any]:
    return [row.get("step") for row in rows]
