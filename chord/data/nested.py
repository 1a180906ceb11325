"""Fields within fields: `reward_model.ground_truth` of an object, `target.0` of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def value_of(row: Mapping[str, Any], name: str | None) -> Any:
    """The value of a field, which may be inside another; None if it is missing.

    A field that has the whole name is meant first.

    >>> value_of({"a": {"b": [1, 2]}}, "a.b.1")
    2
    """
    if name is None:
        return None
    if name in row:
        return row[name]
    found: Any = row
    for part in name.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found
