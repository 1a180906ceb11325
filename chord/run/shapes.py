"""What each row of a run's files has, whoever wrote it: asked by all that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_STEPS = 10**10
MEND = "take the file from a backup, or delete that line"
"""What to do about a row that can't be read."""
OF_STEPS = ("metrics.jsonl", "timings.jsonl", "completions.jsonl")
OF_EVALUATIONS = "evaluations.jsonl"
SPLITS, MODELS = ("val", "test"), ("base", "trained")


def misfit(file: str, row: Any) -> str | None:
    """Why nothing of a row can be used: what tells it from the others is missing, or of a wrong
    type. None where it is right, and for files that are not a run's.

    >>> misfit("metrics.jsonl", {"alpha": 0.5})
    'has no step'
    """
    if not isinstance(row, dict):
        return "not a JSON object"
    if file in (*OF_STEPS, OF_EVALUATIONS) and not is_step(row.get("step")):
        return "has no step"
    if file == OF_EVALUATIONS:
        for name, allowed in (("split", SPLITS), ("model", MODELS)):
            value = row.get(name)
            if not isinstance(value, str) or value not in allowed:
                return "has no split or model"
    return None


def no_number(file: str, row: Mapping[str, Any]) -> str | None:
    """Which value of a row is not a number or null, as all are in the files of numbers."""
    texts = {"metrics.jsonl": (), "timings.jsonl": (), OF_EVALUATIONS: ("split", "model")}
    for name, value in row.items() if file in texts else ():
        if name not in texts[file] and not isinstance(value, int | float | None):
            return f"{name} is not a number"
    return None


def is_step(value: object) -> bool:
    """Whether a value can be a step: a whole number from 0 to ten billion."""
    return type(value) is int and 0 <= value <= MOST_STEPS


def of_status(facts: Mapping[str, Any], states: tuple[str, ...]) -> dict[str, object]:
    """What a `status.json` says, without the values that a run can't have written."""
    kinds: dict[str, tuple[type, ...]] = {
        "error": (str, type(None)),
        "sweep": (str, type(None)),
        "job": (int, type(None)),
        "fingerprint": (str,),
        "before": (str,),
        "model": (dict,),
    }
    found = {name: facts[name] for name in kinds if isinstance(facts.get(name, ...), kinds[name])}
    status = facts.get("status")
    return found | ({"status": status} if isinstance(status, str) and status in states else {})
