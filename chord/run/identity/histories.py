"""What a run has read, as its record has it; whatever is no record is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chord.io.contents import SHOWN, Content, mark
from chord.run.files import FORMAT

VERSION = "version of "
"""How a package's version is named among a run's changes."""


def changes_at(
    changes: Sequence[Content], known: Mapping[str, Any], now: Mapping[str, Any], completed: int
) -> list[Content]:
    """The changes of a run that goes on after `completed` steps with the contents `now`.

    One is `{"step": 24, "setting": "data.problems", "before": ..., "after": ...}`, with `before`
    null where it is not known what was there. A change under which no step was taken is
    forgotten.
    """
    if not completed and not known:
        return []  # nothing of the run is there yet
    kept = [each for each in changes if each["step"] < completed]
    first = {each["setting"]: each["before"] for each in reversed(changes) if each not in kept}
    for name, content in now.items():
        before = first.get(name, known.get(name))
        if mark(before) != mark(content):
            change = {"step": completed, "setting": name, "before": before, "after": content}
            kept.append(change)
    return kept


def check_change(change: Any) -> None:
    """Raise KeyError, TypeError or ValueError for what is no entry of a run's changes."""
    int(change["step"])
    for name in ("setting", "before", "after"):
        change[name]


def named_versions(
    versions: Mapping[str, str], among: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Versions by the names that they have among changes; with `among` those of its packages."""
    kept = versions if among is None else {k: v for k, v in versions.items() if k in among}
    return {f"{VERSION}{name}": version for name, version in kept.items()}


def version_histories(known: Any, changes: Any) -> dict[str, str]:
    """The versions that a run had, by package: `2.12.0, from step 24 on 2.13.0`."""
    found = {}
    for name, last in known.items() if isinstance(known, Mapping) else ():
        found[str(name)] = course(f"{VERSION}{name}", changes) or str(last)
    return found


def course(setting: str, changes: Any) -> str | None:
    """`cpu, from step 24 on gpu` for a setting or a version that changed; None where none did."""
    own = _of(setting, changes)
    if not own:
        return None
    later = [f", from step {each.get('step')} on {each.get('after')}" for each in own]
    return "".join([str(own[0].get("before")), *later])


def newer_format(facts: Mapping[str, Any]) -> str | None:
    """Why a `run.json` can't be understood by this version; None where it can."""
    known = facts.get("format", 1)
    if isinstance(known, int) and known <= FORMAT:
        return None
    return f"run.json has format {known}, of a newer chord; this one reads formats up to {FORMAT}"


def _of(setting: str, changes: Any) -> list[Mapping[str, Any]]:
    listed = changes if isinstance(changes, list) else []
    return [each for each in listed if isinstance(each, Mapping) and each.get("setting") == setting]


def histories(known: Any, changes: Any) -> dict[str, str | None]:
    """What a run has read, by setting: `12ab34cd56ef`, or `12ab34cd56ef, from step 24 on 65fe...`.

    None where it is not known what the run began with. Whatever is no record is passed over, as
    anything may be in a file.
    """
    found: dict[str, str | None] = {}
    for name, content in known.items() if isinstance(known, Mapping) else ():
        own = _of(str(name), changes)
        first = mark(own[0].get("before") if own else content)
        later = [(each.get("step"), mark(each.get("after"))) for each in own]
        texts = [f", from step {step} on {after[:SHOWN]}" for step, after in later if after]
        found[str(name)] = None if first is None else "".join([first[:SHOWN], *texts])
    return found
