"""What a `run.json` has to be before anything is made of it: a run's, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from chord.errors import ConfigError, first_line
from chord.run.identity.histories import check_change, newer_format

_ALWAYS: Mapping[str, tuple[type, type | None]] = {
    "name": (str, None),
    "tracker_id": (str, None),
    "overrides": (list, str),
    "config": (dict, None),
    "schemas": (dict, str),
}
_LATER: Mapping[str, tuple[type, type | None]] = {
    "options": (dict, None),
    "started_in": (str, None),
    "lengths": (list, list),
    "contents": (dict, dict),
    "changes": (list, dict),
    "versions": (dict, str),
    "expressions": (dict, str),
}
"""Parts that runs of old lack."""
MISFITS = (OmegaConfBaseException, TypeError, OverflowError, StopIteration)
"""What values raise that no run has written: of another type, or as large as no number is."""
_NAMES: Mapping[type, str] = {str: "text", list: "a list", dict: "an object"}


def check_record(facts: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError for a part that is missing or of another kind.

    A text in the place of an object would be read as YAML.
    """
    given = {name: kinds for name, kinds in _LATER.items() if name in facts}
    for name, (kind, inner) in {**_ALWAYS, **given}.items():
        if name not in facts:
            raise ValueError(f"it has no {name}")
        part = facts[name]
        if not isinstance(part, kind):
            raise ValueError(f"its {name} is not {_NAMES[kind]}")
        within: Any = part.values() if isinstance(part, dict) else part
        if inner is not None and not all(isinstance(each, inner) for each in within):
            raise ValueError(f"its {name} holds something that is not {_NAMES[inner]}")
    if re.search(r"[/\\*?\[]", facts["tracker_id"]):
        # It becomes part of file names, among them of some that are removed.
        raise ValueError("its tracker_id is no name")
    for change in facts.get("changes", ()):
        check_change(change)


def refuse_newer(path: Path, facts: dict[str, Any]) -> None:
    """Raise `ConfigError` for a `run.json` in a format that this version does not know."""
    if (reason := newer_format(facts)) is not None:
        raise ConfigError(f"{path}: {reason}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise `ConfigError` for what values that no run has written do to the checks."""
    try:
        yield
    except MISFITS as error:
        raise ConfigError(f"{path}: run.json can't be read ({first_line(error)})") from error
