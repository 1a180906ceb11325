"""What grades responses: a batch at a time, or, the simple way, one response after the other."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.io.contents import Contents
from chord.io.printing import say
from chord.io.reading import printable
from chord.rewards.modules import module_content


@dataclass(frozen=True)
class Failure:
    """Why a response has no grade: its scorer took too long, or failed in another way."""

    reason: str
    timed_out: bool = False
    traceback: str = field(default="", compare=False)
    """Where the scorer raised."""


_ROUNDING = 1e-9
"""A score may be so much above 1, as sums of tenths are."""

FAILURES = ("reward/timeouts", "reward/errors")
"""How failures are counted."""


def count_failures(found: Iterable[Failure | None]) -> dict[str, int]:
    """How many answers earned nothing because their scorer took too long, or failed otherwise."""
    late = [failure.timed_out for failure in found if failure is not None]
    return dict(zip(FAILURES, (sum(late), len(late) - sum(late)), strict=True))


@dataclass(frozen=True)
class Grade:
    """`score`: how right, what accuracies report; `reward`: what the policy is trained on.

    Where the scorer failed both are 0, and `failure` says why.
    """

    score: float
    reward: float
    failure: Failure | None = None

    @classmethod
    def failed(cls, reason: str, *, timed_out: bool = False, traceback: str = "") -> Grade:
        """The grade of a response that could not be scored."""
        return cls(0.0, 0.0, Failure(reason, timed_out, traceback))


class ScorerError(ConfigError):
    """A scorer that fails always. `setting`: the reward's, `facts`: the first failure in full."""

    def __init__(self, count: int, reason: str, facts: dict[str, Any]) -> None:
        super().__init__(count, reason)
        self.setting, self.facts = "reward", facts

    def __str__(self) -> str:
        count, reason = self.args
        return (
            f"{self.setting}.on_failures=stop: the scorer failed at each of the first {count} "
            f"answers, at the first one because {reason}; count goes on and "
            "scores such answers 0"
        )


class ChangedCodeError(ConfigError):
    """A scorer whose source is not what it was when it began to score.

    `setting` names it, `what` says which file has changed and how.
    """

    def __init__(self, setting: str, what: str) -> None:
        super().__init__(setting, what)
        self.setting, self.what = setting, what

    def __str__(self) -> str:
        return (
            f"{self.setting}={self.what} since scoring began, and a worker has to be started anew, "
            "which would score by the new code"
        )


@dataclass(kw_only=True)
class Grader(ABC):
    """What grades a batch of responses: a dataclass of its settings with a method `graded`."""

    fallible: ClassVar[bool] = True
    """Whether a grade can be a failure; where it can, metrics and evaluations count them."""
    _warned: ClassVar[bool] = False
    _before: ClassVar[str | None] = None
    """Where its modules are looked for before the current directory: see `look_first_in`."""

    def look_first_in(self, directory: str) -> None:
        """Look for its modules where the run was started, if that is elsewhere."""
        self._before = directory  # type: ignore[misc]  # of this object alone

    def contents(self) -> Contents:
        """What its modules and those that they import hold, as far as they are found."""
        found = {name: module_content(each, self._before) for name, each in self.modules().items()}
        return {name: content for name, content in found.items() if content is not None}

    def files(self) -> Mapping[str, str]:
        """The files that decide a score, by the settings that name them."""
        return {}

    def modules(self) -> Mapping[str, str]:
        """Which of these are modules, that import others: the names of those."""
        return {}

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
        grades = [_in_range(each) for each in self.judged(problems, responses, lengths, ended)]
        for problem, response, grade in zip(problems, responses, grades, strict=True):
            if grade.failure is not None and not self._warned:
                self._warned = True  # type: ignore[misc]  # of this object alone
                reason = printable(grade.failure.reason)
                say(
                    f"warning: reward: {reason}, at the answer {_short(response)} to "
                    f"{_short(problem.prompt)}; such answers earn nothing and are counted",
                    file=sys.stderr,
                )
        return grades

    def judged(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool],
    ) -> list[Grade]:
        """`graded`, and of what was cut off `unfinished`."""
        grades = self.graded(problems, responses, lengths)
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

    @abstractmethod
    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """The rule behind `grade`; it raises nothing because of what a response says."""

    def prepare(self, problem: Problem) -> None:  # noqa: B027
        """Get ready, before the first step of a run, to grade problems such as this one.

        Raises ConfigError where that is impossible.
        """

    @property
    def checks(self) -> bool:
        """Whether `check` looks at anything: it takes a pass over the data."""
        return type(self).check is not Grader.check

    def check(self, problem: Problem) -> None:  # noqa: B027
        """Look at the known answer of each problem before the first step of a new run.

        Raises ConfigError where no response could be compared with it.
        """

    def close(self) -> None:  # noqa: B027
        """Give back what `prepare` or `grade` took; grading again takes it again."""

    def __getstate__(self) -> dict[str, Any]:
        # Settings alone: processes and what was said already stay here.
        return {each.name: vars(self)[each.name] for each in fields(self)}


def _in_range(grade: Grade) -> Grade:
    if -_ROUNDING <= grade.score <= 1 + _ROUNDING:
        return grade
    return Grade.failed(f"the scorer returned {grade.score:g}, and a score is within [0, 1]")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}")


@dataclass(kw_only=True)
class Reward(Grader):
    """What scores one response after the other, in this process: it brings a method `score`."""

    def __call__(self, problem: Problem, response: str) -> float:
        """The score, in [0, 1]."""
        return self.score(problem, response)

    @abstractmethod
    def score(self, problem: Problem, response: str) -> float:
        """How right a response is, in [0, 1]; what `rl_reward` and all accuracies report.

        A response that was cut off before its end token is given as "".
        """

    def reward(self, problem: Problem, response: str) -> float:
        """What the policy is trained on: the score, unless a rule adds terms of its own."""
        return self.score(problem, response)

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """One after the other; a score or reward that is no finite number is a failure."""
        pairs = zip(problems, responses, strict=True)
        return [grade_one(self, problem, response) for problem, response in pairs]


def grade_one(reward: Reward, problem: Problem, response: str) -> Grade:
    """The grade of a response from what `score` and `reward` return."""
    score = _plain(reward.score(problem, response))
    simple = type(reward).reward is Reward.reward
    earned = score if simple else _plain(reward.reward(problem, response))
    for value in (score, earned):
        # Text is none, though float("0.5") is one.
        if not isinstance(value, Real | Decimal) or not math.isfinite(value):
            return Grade.failed(f"the scorer returned {_short(str(value))}, not a finite number")
    return Grade(float(score), float(earned))  # type: ignore[arg-type]


def _plain(value: object) -> object:
    """A scalar of numpy as Python's, its truth values too, which are no numbers there."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
