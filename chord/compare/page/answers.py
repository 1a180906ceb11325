"""Sample responses for the page: each problem once, with those of the base and of each group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chord.compare.model import RunGroup, ShownAnswer
from chord.compare.page.text import cut

CHARACTERS = 2_500_000  # limit for all responses together, as written to the file


def sample_answers(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Return `problems`, with the expert's and the base models' responses, and `answers` by group.

    A group is represented by its first run with sample responses. Problems are added in order,
    each with the responses of all groups, until the page would grow too large.
    """
    speakers = [next((run for run in group.runs if run.answers), None) for group in groups]
    answers: list[dict[str, Any] | None] = [
        None if run is None else {"seed": run.seed, "to": []} for run in speakers
    ]
    problems: list[dict[str, Any]] = []
    room = CHARACTERS
    replies = [_by_problem(run.answers) if run else {} for run in speakers]
    bases = [_by_problem(run.base_answers) if run else {} for run in speakers]
    for key in dict.fromkeys(key for own in replies for key in own):
        base = list(dict.fromkeys(_said(own[key]) for own in bases if key in own))
        given = [_said(own[key]) if key in own else None for own in replies]
        room -= len(json.dumps([key, base, given]))
        if room < 0 and problems:
            break
        for row, said in zip(answers, given, strict=True):
            if row is not None and said is not None:
                row["to"].append([len(problems), *said])
        problems.append(
            {"problem": cut(key[0]), "expert": cut(key[1]), "base": [list(one) for one in base]}
        )
    total = len({key for own in replies for key in own})
    return {"problems": problems, "answers": answers, "problemsLeftOut": total - len(problems)}


def _by_problem(answers: Sequence[ShownAnswer]) -> dict[tuple[str, str], ShownAnswer]:
    return {(answer.problem, answer.expert): answer for answer in answers}


def _said(answer: ShownAnswer) -> tuple[str, bool]:
    return cut(answer.text), bool(answer.right)
