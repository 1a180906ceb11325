"""A penalty for long responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.rewards.base import Grade, Grader


@dataclass(kw_only=True)
class Length(Grader):
    """reward = 0 up to s = soft * hard tokens, (s - n) / (hard - s) from there to `hard`, then -1.

    n: the tokens of a response, its end token included; one that was cut off counts as far as it
    came. The soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13), with `hard` for L_max and
    hard - s for L_cache. The score is 1 + reward, and 0 for what was cut off. For hard 50, soft .8:
    45 tokens earn -.5.
    """

    option = "length"

    fallible: ClassVar[bool] = False

    hard: int
    """Tokens from which the penalty is whole."""
    soft: float = 0.8
    """Share of `hard` that costs nothing."""

    def __post_init__(self) -> None:
        if self.hard < 1:
            raise ConfigError(f"reward.hard={self.hard}: must be at least 1")
        if not 0 <= self.soft < 1:
            raise ConfigError(f"reward.soft={self.soft}: must be within [0, 1)")

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """By the number of tokens alone."""
        rewards = [self.penalty(length) for length in lengths]
        return [Grade(1 + reward, reward) for reward in rewards]

    def unfinished(self, grade: Grade) -> Grade:
        """The penalty is all that a response earns, and does not depend on how it ended."""
        return replace(grade, score=0.0)

    def penalty(self, length: int) -> float:
        """What a response of so many tokens loses, in [-1, 0]."""
        free = self.soft * self.hard
        return max(-1.0, min(0.0, (free - length) / (self.hard - free)))
