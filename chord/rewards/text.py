"""Right where a response says what the answer says, letter for letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chord.data.batch import Problem
from chord.rewards.answers import known_answer, stated_answer
from chord.rewards.base import Reward

PARTS = ("stated", "whole")


@dataclass(kw_only=True)
class Text(Reward):
    """1 where a response's answer and the known one are the same text, else 0.

    Space at both ends is never compared. An empty response is no answer.
    """

    fallible: ClassVar[bool] = False

    part: str = "stated"
    """What of a response is compared: the answer that it states, or the whole of it."""
    ignore_case: bool = False

    def __post_init__(self) -> None:
        check_part(self.part)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for the same text, else 0.0."""
        right = known_answer(problem.answer).strip()
        given = part_of(response, self.part, right)
        if self.ignore_case:
            given, right = given.casefold(), right.casefold()
        return float(bool(response) and given == right)


def check_part(part: str) -> None:
    """Raise ValueError for a part that there is not."""
    if part not in PARTS:
        raise ValueError(f"reward.part={part}: must be one of {', '.join(PARTS)}")


def part_of(response: str, part: str, answer: str) -> str:
    """What of a response is scored, where `answer` is right."""
    if part == "whole":
        return response.strip()
    return stated_answer(response, lines="\n" in answer.strip())
