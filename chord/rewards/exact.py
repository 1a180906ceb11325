"""The test bed's verifier: it parses the final answer, and has an optional format term.

It compares text with text. It never evaluates a response, so nothing that a policy
writes can run, and an answer left as an expression (`2+2`) is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError, quoted
from chord.rewards.base import Reward

_NUMBER = re.compile(r"[0-9]+")
_STEP = re.compile(r"[0-9]+[-+*][0-9]+=[0-9]+")


def final_answer(response: str) -> str:
    """What follows the last `=` of a response; the whole response if there is none.

    >>> final_answer("47*6=282;47*80=3760;282+3760=4042")
    '4042'
    """
    return response.rsplit("=", 1)[-1]


def is_well_formed(response: str) -> bool:
    """Whether a response is a bare number or steps like `47*6=282;7*6=42`, right or wrong."""
    if _NUMBER.fullmatch(response):
        return True
    return all(_STEP.fullmatch(step) for step in response.split(";"))


@dataclass(kw_only=True)
class Verifier(Reward):
    """1 for the right final answer, else 0; `format_coef` adds a term for a well-formed response.

    The two stay apart: `score` is the verifier alone and is what `rl_reward` reports, `reward` is
    what the policy is trained on: score + format_coef * well_formed.

    Raises ConfigError where the coefficient is outside [0, 1].
    """

    option = "exact"

    fallible: ClassVar[bool] = False

    format_coef: float = 0.0
    """What a well-formed response earns on top, right or wrong; 0 turns the term off."""

    def __post_init__(self) -> None:
        if not 0 <= self.format_coef <= 1:
            raise ConfigError(f"reward.format_coef={self.format_coef}: must be within [0, 1]")

    def score(self, problem: Problem, response: str) -> float:
        """1.0 if the final answer is the problem's answer, digit for digit, else 0.0.

        Leading zeros count: the answer of a digit-reversing problem is a text, not a number.
        A response must be complete: pass "" for one cut off before its end token.
        """
        answer = final_answer(response)
        return float(bool(_NUMBER.fullmatch(answer)) and answer == problem.answer)

    def check(self, problem: Problem) -> None:
        """Raise ConfigError where the known answer is not made of digits: nothing is right then."""
        if not _NUMBER.fullmatch(problem.answer):
            raise ConfigError(
                f"reward=exact: the answer {quoted(problem.answer)} of a problem is not made of "
                "digits alone; use reward=numeric for other numbers, or reward=text"
            )

    def reward(self, problem: Problem, response: str) -> float:
        """Score plus the format term: what the advantages are made of."""
        return self.score(problem, response) + self.format_coef * is_well_formed(response)
