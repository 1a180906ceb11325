"""Which metrics the evaluations of a run will have, known before the first one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chord.evaluation.report import MOST_SOURCES
from chord.evaluation.settings import METRICS, OF_EXPERTS, PARTS, Evaluation

if TYPE_CHECKING:
    from chord.data.base import Data

_OF_ANSWERS = ("target_accuracy", "target_mean4", "rl_reward", "entropy")
"""Metrics that need right answers."""
_OF_PAIRS = ("sft_accuracy", "expert_nll")


def measured(data: Data, config: Evaluation, split: str) -> list[str]:
    """The names of the metrics that `evaluate` reports, without counts of failures."""
    found = {*_names(data, config, split)}
    others = sorted(found - {*METRICS})
    return [name for name in METRICS if name in found] + others


def _names(data: Data, config: Evaluation, split: str) -> Iterator[str]:
    part = PARTS[split]
    problems = data.held_out(part)[: getattr(config, f"{split}_problems")]
    answered = all(problem.answer for problem in problems)
    if answered:
        yield from _OF_ANSWERS
        if data.is_expert_style("") is not None:
            yield "expert_style"
        sources = {problem.source for problem in problems if problem.source}
        if 1 < len(sources) <= MOST_SOURCES:
            yield from (f"source/{name}" for name in sources)
    skills = [*data.retained(part), *(skill.name for skill in data.skills)]
    yield from (f"retained/{name}" for name in skills)
    if skills:
        yield from ("retained/mean", "retained/min")
    if data.held_out_pairs(part)[: config.pairs]:
        yield from (OF_EXPERTS if answered else _OF_PAIRS)
