"""Right where a response says what the answer says, letter for letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chord.data.batch import Problem
from chord.rewards.answers import known_answer, readings, stated_answer
from chord.rewards.base import Reward

PARTS = ("stated", "whole")


@dataclass(kw_only=True)
class Text(Reward):
    """1 where a response's answer and the known one are the same text, else 0.

    Space at both ends is never compared. What may be a part of the answer or not, a full stop at
    its end and asterisks around it, is taken as it is right. An empty response is no answer.
    """

    fallible: ClassVar[bool] = False

    part: str = "stated"
    """What of a response is compared: the answer that it states, or the whole of it."""
    ignore_case: bool = False

    def __post_init__(self) -> None:
        check_part(self.part)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for the same text, else 0.0."""
        lines = "\n" in known_answer(problem.answer).strip()
        known = [problem.answer, known_answer(problem.answer)]
        given = [response]
        if self.part == "stated":
            known.append(stated_answer(problem.answer, lines=lines))
            given += readings(response, lines=lines)
        right = {self._compared(text) for text in known}
        return float(bool(response.strip()) and not right.isdisjoint(map(self._compared, given)))

    def _compared(self, text: str) -> str:
        return text.strip().casefold() if self.ignore_case else text.strip()


def check_part(part: str) -> None:
    """Raise ValueError for a part that there is not."""
    if part not in PARTS:
        raise ValueError(f"reward.part={part}: must be one of {', '.join(PARTS)}")


def part_of(response: str, part: str, answer: str) -> str:
    """What of a response is scored, where `answer` is right: that itself, if it can be read so."""
    response, answer = response.strip(), answer.strip()
    if part == "whole" or response == answer:
        return response
    found = readings(response, lines="\n" in answer)
    return answer if answer in found else found[-1]
