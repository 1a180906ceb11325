"""Right where the number that a response states is the answer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from chord.data.batch import Problem
from chord.errors import ConfigError, quoted
from chord.rewards.answers import known_answer
from chord.rewards.base import Grade, Reward
from chord.rewards.numbers import only_number, stated_number

ROUNDING = 1e-6
"""The tolerance that allows for decimals that were rounded, and for nothing else."""


@dataclass(kw_only=True)
class Numeric(Reward):
    """1 where |x - a| <= tolerance * |a| for the numbers x and a, else 0.

    x is what the response states, a the known answer; the forms of both are in
    `chord.rewards.numbers`. They are compared as fractions: 0.1 is 1/10. The default tolerance is
    for rounded decimals: with it, or a smaller one, and a whole number on either side,
    |x - a| <= tolerance must hold as well, so that two whole numbers must be equal.
    """

    option = "numeric"

    tolerance: float = ROUNDING
    """Relative to the answer. Above 1e-6 it holds for whole numbers too, which else are exact."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"reward.tolerance={self.tolerance}: must be within [0, 1)")

    def known(self, answer: str) -> str:
        return known_answer(answer)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 if the number is the answer's; ConfigError where the answer is no number."""
        right, given = self._known(problem), stated_number(response)
        if given is None:
            return 0.0
        within = Fraction(str(self.tolerance))  # as it is written: 0.1 is a tenth
        is_whole = 1 in (right.denominator, given.denominator)
        scale = (
            min(abs(right), Fraction(1)) if is_whole and self.tolerance <= ROUNDING else abs(right)
        )
        return float(abs(given - right) <= within * scale)

    def _known(self, problem: Problem) -> Fraction:
        right = only_number(known_answer(problem.answer))
        if right is None:
            raise ConfigError(
                f"reward=numeric: the answer {quoted(problem.answer)} of a problem is not one "
                "number in a documented form; use reward=text to compare texts"
            )
        return right

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """A known answer without a number costs its own answers their reward, not the run."""
        grades = []
        for problem, response in zip(problems, responses, strict=True):
            try:
                score = self.score(problem, response)
            except ValueError as error:
                grades.append(Grade.failed(str(error)))
            else:
                grades.append(Grade(score, score))
        return grades

    def prepare(self, problem: Problem) -> None:
        """Raise ConfigError where the known answer is not one number."""
        self.check(problem)

    def check(self, problem: Problem) -> None:
        """The same, of every problem."""
        self._known(problem)
