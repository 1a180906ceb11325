"""A few wrong responses, scored before the first step by a function of the user's.

The expert's responses show what the function returns for right ones alone. Its most common
mistakes show at wrong ones: -1 in place of 0, and a score that doesn't depend on the answer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chord.config.root import TrainConfig
from chord.data.batch import Pair, Problem
from chord.io.printing import say
from chord.io.reading import printable

if TYPE_CHECKING:
    from chord.data.base import Data

PROBLEMS = 8
"""For so many problems wrong responses are scored."""


def warn_of_wrong(config: TrainConfig, data: Data, pairs: Sequence[Pair]) -> None:
    """Score the empty text, and responses to other problems; warn if all of those are right.

    `pairs`: the expert's responses. Without any, right answers take their place.

    Raises ConfigError for a score outside [0, 1].
    """
    reward = config.reward
    if reward.named is None or data.unanswered is not None or config.data.expert_check == "skip":
        return
    known = [(pair.problem, pair.response) for pair in pairs[:PROBLEMS]] or [
        (problem, problem.answer) for problem in data.problems(0, config.seed, PROBLEMS)
    ]
    others = _exchanged(known)
    asked = [*others, *((problem, "") for problem, _ in known)]
    problems, responses = [problem for problem, _ in asked], [response for _, response in asked]
    grades = reward.grade(problems, responses, [1] * len(asked))[: len(others)]
    if others and all(grade.score == 1 for grade in grades):
        say(
            printable(
                f"warning: {reward.named}: gave another problem's response the score 1, "
                f"{len(others)} of {len(others)} times; it may call everything right"
            ),
            file=sys.stderr,
        )


def _exchanged(known: Sequence[tuple[Problem, str]]) -> list[tuple[Problem, str]]:
    """Each problem with the response to the next one that has another answer and response."""
    found = []
    for place, (problem, own) in enumerate(known):
        for other, response in (*known[place + 1 :], *known[:place]):
            if other.answer not in {*problem.others, problem.answer} and response != own:
                found.append((problem, response))
                break
    return found
