"""A retained skill, which is measured besides the target task to show forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chord.data.batch import Problem


class Scores(Protocol):
    """The scorer of a skill; `chord.rewards.Grader` is one."""

    @property
    def fallible(self) -> bool:
        """Whether a response can be impossible to score."""

    def grade(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool] | None = None,
    ) -> Sequence[Any]:
        """One grade for each response."""

    def close(self) -> None:
        """Release the resources of scoring."""


@dataclass(frozen=True)
class Skill:
    """Problems of `validation` and `test`, and the scorer of their answers."""

    name: str
    problems: Mapping[str, Sequence[Problem]]
    grader: Scores
