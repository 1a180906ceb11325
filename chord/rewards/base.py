"""What grades responses: a batch at a time, or, the simple way, one response after the other."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar, TypeGuard

from chord.data.batch import Problem
from chord.data.grading import Failure as Failure
from chord.data.grading import Grade as Grade
from chord.data.grading import Scorer, short
from chord.errors import ConfigError
from chord.io.contents import Contents
from chord.rewards.modules import module_content

FAILURES = ("reward/timeouts", "reward/errors")
"""How failures are counted."""


def count_failures(found: Iterable[Failure | None]) -> dict[str, int]:
    """How many answers earned nothing because their verifier took too long, or failed otherwise."""
    late = [failure.timed_out for failure in found if failure is not None]
    return dict(zip(FAILURES, (sum(late), len(late) - sum(late)), strict=True))


class ScorerError(ConfigError):
    """A verifier that fails always. `setting`: the reward's, `facts`: the first failure in full."""

    def __init__(self, count: int, reason: str, facts: dict[str, Any]) -> None:
        super().__init__(count, reason)
        self.setting, self.facts = "reward", facts

    def __str__(self) -> str:
        count, reason = self.args
        return (
            f"{self.setting}.on_failures=stop: the verifier failed at each of the first {count} "
            f"answers, at the first one because {reason}; count goes on and "
            "scores such answers 0"
        )


class ScaleError(ConfigError):
    """A function whose scores are outside [0, 1]. `setting` names it."""

    def __init__(self, setting: str, score: float) -> None:
        super().__init__(setting, score)
        self.setting = setting

    def __str__(self) -> str:
        name = right_from(self.setting)
        return (
            f"{self.setting}: returned {self.args[1]:g}, and a score is within [0, 1]; for rewards "
            f"on another scale set {name}, as in {name}=1"
        )


def right_from(named: str) -> str:
    """The setting beside the one that names a function, which says what it counts as right.

    >>> right_from("reward.parts.mine.function=my_rewards:score")
    'reward.parts.mine.right_from'
    """
    return f"{named.partition('function=')[0]}right_from"


class ChangedCodeError(ConfigError):
    """A verifier whose source is not what it was when it began to score.

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
class Grader(Scorer):
    """What grades a batch of responses: a dataclass of its settings with a method `graded`."""

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

    @property
    def any_scale(self) -> str | None:
        """The setting because of which rewards have a scale of their own; None: that of scores."""
        return None

    @property
    def named(self) -> str | None:
        """The setting that names the function that scores; None: no function of the user's does."""
        return None

    def prepare(self, problem: Problem) -> None:
        """Get ready, before the first step of a run, to grade problems such as this one.

        Raises ConfigError where that is impossible.
        """

    @property
    def checks(self) -> bool:
        """Whether `check` looks at anything: it takes a pass over the data."""
        return type(self).check is not Grader.check

    @property
    def note(self) -> str | None:
        """What a user should know of it when `check` has seen all problems."""
        return None

    def check(self, problem: Problem) -> None:
        """Look at the known answer of each problem before the first step of a new run.

        Raises ConfigError where no response could be compared with it.
        """

    def known(self, answer: str) -> str:
        """What of a right answer responses are compared with: by default all of it."""
        return answer

    def by_letters(self, problem: Problem) -> bool:
        """Whether a response is right by its letters alone, and not by a value or a rule."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        # Settings alone: processes and what was said already stay here.
        return {each.name: vars(self)[each.name] for each in fields(self)}


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

    def both(self, problem: Problem, response: str) -> tuple[object, object]:
        """The score and the reward, for a rule that finds both at once."""
        score = self.score(problem, response)
        simple = type(self).reward is Reward.reward
        return score, score if simple else self.reward(problem, response)

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """One after the other; a score or reward that is no finite number is a failure."""
        pairs = zip(problems, responses, strict=True)
        return [grade_one(self, problem, response) for problem, response in pairs]


def grade_one(reward: Reward, problem: Problem, response: str) -> Grade:
    """The grade of a response from what `score` and `reward` return."""
    score, earned = map(plain, reward.both(problem, response))
    for value in (score, earned):
        # Text is none, though float("0.5") is one.
        if not is_number(value) or not math.isfinite(value):
            return Grade.failed(f"the verifier returned {short(str(value))}, not a finite number")
    return Grade(float(score), float(earned))  # type: ignore[arg-type]


def is_number(value: object) -> TypeGuard[Real | Decimal]:
    """Whether a value is one, of any type, and no text that could be read as one."""
    return isinstance(value, Real | Decimal)


def plain(value: object) -> object:
    """A scalar of numpy as Python's, its truth values too, which are no numbers there."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
