"""Several rewards with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.io.contents import Contents
from chord.rewards.base import (
    ChangedCodeError,
    Failure,
    Grade,
    Grader,
    ScaleError,
    ScorerError,
)


@dataclass(kw_only=True)
class Weighted(Grader):
    """reward = sum over the parts of weight * the part's reward; the score is that of one part.

    A part that fails adds nothing, and the others still count. Worked value: parts with the rewards
    1 and -.5 and the weights 1 and .2 give .9.
    """

    option = "weighted"

    parts: dict[str, Grader] = field(default_factory=dict)
    """Rewards by names of one's own."""
    weights: dict[str, float]
    """A weight for each part."""
    score: str
    """The part whose score accuracies report."""

    def __post_init__(self) -> None:
        for name in self.parts:
            if name not in self.weights:
                raise ConfigError(f"reward.weights.{name}: has no value; each part needs a weight")
            if isinstance(self.parts[name], Weighted):
                raise ConfigError(f"reward.parts.{name}: can't be a weighted reward itself")
        known = ", ".join(self.parts)
        for name, weight in self.weights.items():
            if name not in self.parts:
                raise ConfigError(
                    f"reward.weights.{name}={weight}: no such part; parts are {known}"
                )
            if not abs(weight) < float("inf"):
                raise ConfigError(f"reward.weights.{name}={weight}: must be a finite number")
        if self.score not in self.parts:
            raise ConfigError(f"reward.score={self.score}: must be one of the parts {known}")

    def look_first_in(self, directory: str) -> None:
        for part in self.parts.values():
            part.look_first_in(directory)

    def contents(self) -> Contents:
        return {
            _of_part(setting, name): content
            for name, part in self.parts.items()
            for setting, content in part.contents().items()
        }

    def files(self) -> dict[str, str]:
        return {
            _of_part(setting, name): path
            for name, part in self.parts.items()
            for setting, path in part.files().items()
        }

    def modules(self) -> dict[str, str]:
        return {
            _of_part(setting, name): module
            for name, part in self.parts.items()
            for setting, module in part.modules().items()
        }

    def known(self, answer: str) -> str:
        return self.parts[self.score].known(answer)

    def by_letters(self, problem: Problem) -> bool:
        return self.parts[self.score].by_letters(problem)

    @property
    def any_scale(self) -> str | None:
        """That of the first part that counts and has one."""
        for name, part in self.parts.items():
            if self.weights[name] and part.any_scale is not None:
                return _of_part(part.any_scale, name)
        return None

    @property
    def named(self) -> str | None:
        named = self.parts[self.score].named
        return None if named is None else _of_part(named, self.score)

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """Each part grades all of them."""
        return self.judged(problems, responses, lengths, [True] * len(problems))

    def judged(
        self,
        problems: Sequence[Problem],
        responses: Sequence[str],
        lengths: Sequence[int],
        finished: Sequence[bool],
        *,
        any_number: bool = False,
    ) -> list[Grade]:
        """Of what was cut off, each part keeps the terms of its own.

        The part that gives the score has its scores within [0, 1]; the others any numbers.
        """
        by_part = {}
        for name, part in self.parts.items():
            try:
                by_part[name] = part.judged(
                    problems,
                    responses,
                    lengths,
                    finished,
                    any_number=any_number or name != self.score,
                )
            except (ScorerError, ScaleError, ChangedCodeError) as error:
                error.setting = _of_part(error.setting, name)
                raise
        return [
            Grade(
                by_part[self.score][row].score,
                sum(self.weights[name] * grades[row].reward for name, grades in by_part.items()),
                self._failure({name: grades[row] for name, grades in by_part.items()}),
            )
            for row in range(len(problems))
        ]

    def _failure(self, grades: dict[str, Grade]) -> Failure | None:
        for name, grade in grades.items():
            if grade.failure is not None:
                return replace(grade.failure, reason=f"{name}: {grade.failure.reason}")
        return None

    def prepare(self, problem: Problem) -> None:
        """Each part; raises ConfigError with the part's name."""
        for name, part in self.parts.items():
            try:
                part.prepare(problem)
            except ValueError as error:
                raise ConfigError(f"reward.parts.{name}: {error}") from error

    @property
    def checks(self) -> bool:
        """Whether one of the parts does."""
        return any(part.checks for part in self.parts.values())

    def check(self, problem: Problem) -> None:
        """Each part; raises ConfigError with the part's name."""
        for name, part in self.parts.items():
            try:
                part.check(problem)
            except ValueError as error:
                raise ConfigError(f"reward.parts.{name}: {error}") from error

    def close(self) -> None:
        """Each part."""
        for part in self.parts.values():
            part.close()


def _of_part(setting: str, name: str) -> str:
    """A setting of a reward, as it is called where that is a part."""
    return setting.replace("reward", f"reward.parts.{name}", 1)
