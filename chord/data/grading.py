"""What grades responses, and a grade; the rewards themselves are in `chord.rewards`."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from chord.data.batch import Problem
from chord.io.printing import say
from chord.io.reading import printable

_ROUNDING = 1e-9
"""A score may be so much above 1, as sums of tenths are."""


@dataclass(frozen=True)
class Failure:
    """Why a response has no grade: its verifier took too long, or failed in another way."""

    reason: str
    timed_out: bool = False
    traceback: str = field(default="", compare=False)
    """Where the verifier raised."""


@dataclass(frozen=True)
class Grade:
    """`score`: how right, what accuracies report; `reward`: what the policy is trained on.

    Where the verifier failed both are 0, and `failure` says why.
    """

    score: float
    reward: float
    failure: Failure | None = None

    @classmethod
    def failed(cls, reason: str, *, timed_out: bool = False, traceback: str = "") -> Grade:
        """The grade of a response that could not be scored."""
        return cls(0.0, 0.0, Failure(reason, timed_out, traceback))


class Scorer(ABC):
    """What grades a batch of responses by a rule of its own, `graded`."""

    fallible: ClassVar[bool] = True
    """Whether a grade can be a failure; where it can, metrics and evaluations count them."""
    _warned: ClassVar[bool] = False

    def grade(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool] | None = None,
    ) -> list[Grade]:
        """A grade for each response; the first that fails is shown, in a line on stderr.

        A score outside [0, 1], which would be no share of right answers, is a failure as well.

        `lengths`: the tokens of each response, the end token and what was cut off included.
        `finished`: whether it was ended by its end token; where it was cut off, the rule is given
        "", and what that would score is taken back, see `unfinished`. None: all were ended.
        """
        ended = [True] * len(responses) if finished is None else finished
        assert len(problems) == len(responses) == len(lengths) == len(ended), "one of each"
        responses = [text if done else "" for text, done in zip(responses, ended, strict=True)]
        grades = self._best(problems, responses, lengths, ended)
        for problem, response, grade in zip(problems, responses, grades, strict=True):
            if grade.failure is not None and not self._warned:
                self._warned = True  # type: ignore[misc]  # of this object alone
                reason = printable(grade.failure.reason)
                say(
                    f"warning: reward: {reason}, at the answer {short(response)} to "
                    f"{short(problem.prompt)}; such answers earn nothing and are counted",
                    file=sys.stderr,
                )
        return grades

    def _best(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool],
    ) -> list[Grade]:
        """The grade of each response, compared with each right answer: the best of them."""
        each = [(row, one) for row, p in enumerate(problems) for one in p.each_answer()]
        rows = [row for row, _ in each]
        grades = self.judged(
            [problem for _, problem in each],
            [responses[row] for row in rows],
            [lengths[row] for row in rows],
            [finished[row] for row in rows],
        )
        best: dict[int, Grade] = {}
        for row, grade in zip(rows, grades, strict=True):
            if row not in best or _order(grade) > _order(best[row]):
                best[row] = grade
        return [best[row] for row in range(len(problems))]

    def judged(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool],
        *,
        any_number: bool = False,
    ) -> list[Grade]:
        """`graded`, and of what was cut off `unfinished`.

        Unless it may be `any_number`, a score outside [0, 1] is a failure, that of the empty text
        too.
        """
        grades = self.graded(problems, responses, lengths)
        if not any_number:
            grades = [grade if _in_range(grade) else self.outside(grade.score) for grade in grades]
        return [
            grade if done else self.unfinished(grade)
            for grade, done in zip(grades, finished, strict=True)
        ]

    def unfinished(self, grade: Grade) -> Grade:
        """What is left of an empty response's grade where the response was cut off.

        The score is 0, and the reward loses what the score gave it: penalties and other terms of a
        rule's own stay.
        """
        return replace(grade, score=0.0, reward=grade.reward - max(0.0, grade.score))

    def outside(self, score: float) -> Grade:
        """The grade of a response whose score is outside [0, 1]: a failure."""
        return Grade.failed(f"the verifier returned {score:g}, and a score is within [0, 1]")

    @abstractmethod
    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """The rule behind `grade`; it raises nothing because of what a response says."""

    def close(self) -> None:  # noqa: B027
        """Give back what grading took; grading again takes it again."""


def _in_range(grade: Grade) -> bool:
    return -_ROUNDING <= grade.score <= 1 + _ROUNDING


def _order(grade: Grade) -> tuple[bool, float, float]:
    return grade.failure is None, grade.score, grade.reward


def short(text: str) -> str:
    """A text in quotes for a message, which may be a whole page; LaTeX stays as it is written."""
    return f"'{printable(text if len(text) <= 80 else f'{text[:60]}...{text[-17:]}')}'"
