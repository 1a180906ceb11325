"""A skill that is measured beside the target task, so that forgetting is a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chord.data.batch import Problem


class Scores(Protocol):
    """What a skill is scored by; `chord.rewards.Grader` is one."""

    @property
    def fallible(self) -> bool:
        """Whether an answer may be impossible to score."""

    def grade(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool] | None = None,
    ) -> Sequence[Any]:
        """One grade for each answer."""

    def close(self) -> None:
        """Give back what scoring took."""


@dataclass(frozen=True)
class Skill:
    """Problems of `validation` and `test`, and what says how right an answer is."""

    name: str
    problems: Mapping[str, Sequence[Problem]]
    grader: Scores
