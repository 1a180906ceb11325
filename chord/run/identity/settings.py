"""Which settings tell a run from another: those that can change a number of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

NO_NUMBER = (
    "tracking",
    "resume",
    "fork",
    "checkpoint",
    "fresh_optimizer",
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
    "model.run",
    "model.start",
    "reward.on_failures",
    "reward.parts.*.on_failures",
)
"""Settings inside groups that can't either: they say when a run stops, or what it says. Of the run
whose model another one starts from, its lineage counts instead, as with `fork`."""
OF_THE_MODEL = ("path", "pretraining_seed")
"""Settings of the model that its lineage counts for if it is that of a run."""
AS_BEFORE: Mapping[str, object] = {
    "trainer.on_nonfinite": "stop",
    "lineage": None,
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
        if _is_silent(name) or (group == "model." and _is_a_runs(key, settings)):
            continue
        if isinstance(value, Mapping):
            found[key] = telling(value, f"{name}.")
        elif not any(fnmatchcase(name, later) and value == old for later, old in AS_BEFORE.items()):
            found[key] = value
    return found


def fingerprint_of(
    values: Any, schemas: Mapping[str, str], lengths: Sequence[Sequence[int]] = ()
) -> str:
    """A hash of everything in resolved settings that can change a number, the classes included.

    And of the lengths that the run has had, if there were several.
    """
    named = {name: schema for name, schema in schemas.items() if name not in NO_NUMBER}
    several = [lengths] if len(lengths) > 1 else []
    # What has no form in JSON is no value of a setting: it is another one than any of these.
    text = json.dumps([telling(values), named, *several], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def resumable(name: str) -> bool:
    """Whether a resume may change a setting, or choose another option of a group."""
    group, _, setting = name.partition(".")
    group = group.partition("@")[0]
    if group == "trainer":
        # It loads Hydra, which a comparison of runs that nobody edited does without.
        from chord.config.trainer import NONFINITE, PLACES

        return setting in ("", *PLACES, *NONFINITE)
    return group in RESUME_ALLOWS


def tells(name: str) -> bool:
    """Whether a run of another value of a setting is another run."""
    return name.partition(".")[0] not in NO_NUMBER and not _is_silent(name)


def _is_a_runs(key: object, model: Mapping[Any, Any]) -> bool:
    """Whether a setting of the model is looked up in the run that it is of."""
    return key in OF_THE_MODEL and model.get("run") is not None


def _is_silent(name: str) -> bool:
    return any(fnmatchcase(name, silent) for silent in (*NO_NUMBER, *SILENT))
