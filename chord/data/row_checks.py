"""What is wrong with an object of JSON although a parser takes it.

Of a field that is named twice, parsers keep the last; half of a character can't be written as text.
"""

from __future__ import annotations

import json
import re
from typing import Any

_APART = re.compile(rb'"\s+:')
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def trouble(text: bytes, row: dict[str, Any]) -> str | None:
    """Why the object in a text is refused, though it was read; None if it is not."""
    # Both are rare: a row is read a second time only if it may be one of them.
    odd = text.count(b'":') != _count(row) or _APART.search(text)
    if odd and (name := _twice(text)) is not None:
        return f"names the field {name!r} twice"
    if _HALF.search(text):
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "holds half of a character, an escape such as \\ud83d without its other half"
    return None


def _count(row: dict[str, Any]) -> int:
    """The number of named fields, those of objects within it included."""
    count = 0
    level: list[dict[str, Any] | list[Any]] = [row]
    while level:
        count += sum(len(value) for value in level if isinstance(value, dict))
        below = [v.values() if isinstance(v, dict) else v for v in level]
        level = [value for v in below for value in v if isinstance(value, dict | list)]
    return count


def _twice(text: bytes) -> str | None:
    found: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        found.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    json.loads(text, object_pairs_hook=object_of)
    return found[0] if found else None
