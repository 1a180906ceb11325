"""Right where a response says what the answer says, letter for letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError, check_choice
from chord.rewards.answers import known_answer, readings, stated_answer
from chord.rewards.base import Reward

PARTS = ("stated", "whole")


@dataclass(kw_only=True)
class Text(Reward):
    """1 where a response's answer and the known one are the same text, else 0.

    The known answer is taken as it is, of a worked solution its last line `#### ...`. Of a response
    a full stop at the end and asterisks in pairs around it may be left out or belong to the answer,
    see `chord.rewards.answers.readings`. White space at both ends is never compared, and line ends
    are the same on all systems. An empty response is no answer.
    """

    option = "text"

    fallible: ClassVar[bool] = False

    part: str = "stated"
    """What of a response is compared: the answer that it states, or the whole of it."""
    ignore_case: bool = False

    def __post_init__(self) -> None:
        check_part(self.part)

    def known(self, answer: str) -> str:
        return known_answer(_unix(answer)).strip()

    def by_letters(self, problem: Problem) -> bool:
        return True

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for the same text, else 0.0."""
        known = self.known(problem.answer)
        given = [_unix(response)]
        if self.part == "stated":
            given += readings(given[0], lines="\n" in known)
        right = {self._compared(text) for text in (problem.answer, known)} - {""}
        return float(not right.isdisjoint(map(self._compared, given)))

    def check(self, problem: Problem) -> None:
        """Raise ConfigError where the known answer is empty."""
        if not problem.answer.strip():
            raise ConfigError(
                "reward=text: the answer of a problem is empty, and no response is right"
            )

    def _compared(self, text: str) -> str:
        text = _unix(text).strip()
        return text.casefold() if self.ignore_case else text


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_part(part: str) -> None:
    """Raise ConfigError for a part that there is not."""
    check_choice("reward.part", part, PARTS)


def part_of(response: str, part: str, answer: str) -> str:
    """What of a response is scored, where `answer` is right: that itself, if it can be read so."""
    response, answer = response.strip(), answer.strip()
    lines = "\n" in answer
    if part == "whole" or response == answer:
        return response
    return (
        answer
        if answer in readings(response, lines=lines)
        else stated_answer(response, lines=lines)
    )
