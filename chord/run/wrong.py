"""A few wrong responses, scored before the first step by a function of the user's.

The expert's responses show what the function returns for right ones alone. Its most common
mistakes show at wrong ones: -1 in place of 0, a score that doesn't depend on the answer, and one
that gives part of the credit, for example for the format, so that accuracies are mean scores.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chord.config.root import TrainConfig
from chord.data.batch import Pair, Problem
from chord.io.printing import say
from chord.io.reading import printable
from chord.rewards.base import right_from

if TYPE_CHECKING:
    from chord.data.base import Data

PROBLEMS = 8
"""For so many problems wrong responses are scored."""


def warn_of_wrong(config: TrainConfig, data: Data, pairs: Sequence[Pair]) -> None:
    """Score the empty text, and responses to other problems; warn if all of those are right, or if
    one of all these earns a part of the credit.

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
    scores = [grade.score for grade in reward.grade(problems, responses, [1] * len(asked))]
    if others and all(score == 1 for score in scores[: len(others)]):
        say(
            printable(
                f"warning: {reward.named}: gave another problem's response the score 1, "
                f"{len(others)} of {len(others)} times; it may call everything right"
            ),
            file=sys.stderr,
        )
    partial = next((score for score in scores if 0 < score < 1), None)
    if partial is not None:
        say(
            printable(
                f"warning: {reward.named} gives {partial:.3g} to a wrong response, so accuracies "
                f"are mean scores; {right_from(reward.named)}=1 counts right responses alone"
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
