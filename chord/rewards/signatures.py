"""How a reward function is called, and what its result means: chord's way, TRL's and verl's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chord.data.batch import Problem
from chord.data.nested import value_of

_OWN = ("prompt", "completion", "completion_ids")


@dataclass(frozen=True)
class Signature:
    """`given`: the arguments by name. `read`: the reward in what is returned.

    `names`: the arguments that every call has. `columns`: whether the fields of the row are
    arguments, too. `whole`: whether a function with `**kwargs` gets all arguments.
    """

    given: Callable[[Problem, str], dict[str, Any]]
    read: Callable[[Any], Any]
    names: tuple[str, ...]
    columns: bool = False
    whole: bool = True


def columns_of(problem: Problem) -> dict[str, Any]:
    """What TRL calls the columns: the fields of the row but those that are given in other ways.

    Also `answer` and `source`, if the row has no such fields.
    """
    columns = {"answer": problem.answer, "source": problem.source, **_row(problem)}
    return {name: value for name, value in columns.items() if name not in _OWN}


def _row(problem: Problem) -> Mapping[str, Any]:
    return problem.details if isinstance(problem.details, Mapping) else {}


def _to_chord(problem: Problem, response: str) -> dict[str, Any]:
    return {
        "problem": problem,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "details": problem.details,
        "response": response,
    }


def _to_trl(problem: Problem, response: str) -> dict[str, Any]:
    """Lists with one element: the prompt, the completion and each column.

    The first two are lists of messages if the problem is a conversation in the data.
    """
    prompt: Any = problem.prompt
    completion: Any = response
    if problem.turns or problem.conversational:
        turns = [(turn.role, turn.content) for turn in problem.turns] or [("user", prompt)]
        prompt = [{"role": role, "content": content} for role, content in turns]
        completion = [{"role": "assistant", "content": response}]
    given = {**columns_of(problem), "prompts": prompt, "completions": completion}
    return {name: [value] for name, value in given.items()}


def _from_trl(value: Any) -> Any:
    try:
        (reward,) = value
    except (TypeError, ValueError):
        said = " ".join(repr(value).split())[:80]
        raise ValueError(f"a list with one reward was expected, not {said}") from None
    return reward


def _to_verl(problem: Problem, response: str) -> dict[str, Any]:
    row = _row(problem)
    truth = value_of(row, "reward_model.ground_truth")
    return {
        "data_source": row.get("data_source", problem.source),
        "solution_str": response,
        "ground_truth": problem.answer if truth is None else truth,
        "extra_info": row.get("extra_info") or {},
    }


def _from_verl(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "score" not in value:
        raise ValueError(f"the dictionary has no 'score', but {', '.join(map(str, value))}")
    return value["score"]


SIGNATURES: dict[str, Signature] = {
    "chord": Signature(
        _to_chord,
        lambda value: value,
        ("problem", "prompt", "answer", "details", "response"),
        whole=False,
    ),
    "trl": Signature(_to_trl, _from_trl, ("prompts", "completions"), columns=True),
    "verl": Signature(
        _to_verl,
        _from_verl,
        ("data_source", "solution_str", "ground_truth", "extra_info"),
    ),
}
"""By the values of `reward.signature`."""
