"""What a file held: its hash and size, and whether it has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Content = dict[str, Any]


Contents = dict[str, Content]
"""By setting: see `chord.run.identity.contents`."""


SHOWN = 12
"""Digits of a hash that are shown."""


def mark(content: Any) -> str | None:
    """What tells a content from another, a version from another; None where that is not known."""
    if isinstance(content, str):
        return content
    known = content if isinstance(content, Mapping) else {}
    found = known.get("sha256") or known.get("revision")
    return found if isinstance(found, str) else None


def changed(known: Mapping[str, Any], now: Contents) -> list[str]:
    """The settings whose contents are on record and are not what they were."""
    return [
        name for name, content in now.items() if mark(known.get(name)) not in (None, mark(content))
    ]


def difference(before: Content, after: Content) -> str:
    """`has changed (sha256 12ab..., 20 bytes; now 34cd..., 21 bytes)`.

    Of a module and what it imports: `has changed in helper (...)`.
    """
    one, other = (content.get("modules") for content in (before, after))
    names: list[str] = []
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    where = f" in {', '.join(names)}" if names else ""
    return f"has changed{where} ({shown(before)}; now {shown(after)})"


def shown(content: Content) -> str:
    """A content as errors and notes have it: `sha256 12ab34cd56ef, 1,200 bytes`."""
    kind = "revision" if "revision" in content else "sha256"
    text, size = f"{kind} {(mark(content) or 'unknown')[:SHOWN]}", content.get("bytes")
    return f"{text}, {size:,} bytes" if isinstance(size, int) else text
