"""Which settings tell a run from another: those that can change a number of it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

NO_NUMBER = (
    "tracking",
    "resume",
    "allow_changed",
    "resume_sweep",
    "skip_finished",
    "sweep_metric",
    "trust",
    "dry_run",
)
"""Settings and groups that can't change a number of a run."""
RESUME_ALLOWS = ("resume", "steps", "allow_changed", "tracking", "threads", "trainer", "trust")
"""What may be said beside `resume=`: how far, with which changed files, where to log and to
compute, with how many threads, and whether to import what it names."""
SILENT = (
    "trainer.keep",
    "trainer.warn_off",
    "trainer.skip_limit",
    "data.expert_check",
    "reward.on_failures",
    "reward.parts.*.on_failures",
)
"""Settings inside groups that can't either: they say when a run stops, or what it says."""
AS_BEFORE: Mapping[str, object] = {
    "trainer.on_nonfinite": "stop",
    "rollout.correct_native": False,
    "reward.signature": "chord",
    "reward.right_from": None,
    "reward.parts.*.signature": "chord",
    "reward.parts.*.right_from": None,
}
"""Settings that came later than the first runs, with the value at which runs are as they were."""


def telling(settings: Mapping[Any, Any], group: str = "") -> dict[str, Any]:
    """The resolved settings without those that make no other run."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{group}{key}"
        if any(fnmatchcase(name, silent) for silent in (*NO_NUMBER, *SILENT)):
            continue
        if isinstance(value, Mapping):
            found[key] = telling(value, f"{name}.")
        elif not any(fnmatchcase(name, later) and value == old for later, old in AS_BEFORE.items()):
            found[key] = value
    return found
