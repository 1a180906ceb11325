"""Which files a command may replace: those that are evidently of the kind that it writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.reading import FACTS, opened, parse_json, read_json

_SIZE = 8
"""Bytes of a number at the start of a safetensors file: the size of its header."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: what it is called, and whether a file is one."""

    name: str
    holds: Callable[[Path], bool]


def refuse_other(path: Path, named: str, kind: Kind) -> None:
    """Raise `ConfigError` that begins with `named` where `path` is there and of another kind.

    An empty file holds nothing, and can be replaced.
    """
    if not os.path.lexists(path) or path.is_dir():
        return  # that a directory can't be written over is said elsewhere
    try:
        if not _start(path, 1) or kind.holds(path):
            return
    except (OSError, ValueError):  # it can't be read, or is no regular file
        pass
    raise ConfigError(
        f"{named}: is there already and is not {kind.name}, so it is not replaced; give another "
        "name, or move it away"
    )


def begins(*texts: bytes) -> Callable[[Path], bool]:
    """Whether a file begins with one of these."""
    return lambda path: _start(path, max(map(len, texts))).startswith(texts)


def json_with(*keys: str) -> Callable[[Path], bool]:
    """Whether a file is a JSON object with these keys."""
    return lambda path: {*keys} <= read_json(path).keys()


def safetensors_with(entry: str) -> Callable[[Path], bool]:
    """Whether a file is one of safetensors with an entry in its metadata."""
    return lambda path: entry in _metadata(path)


def _metadata(path: Path) -> dict[str, Any]:
    with opened(path) as file:
        size = int.from_bytes(file.read(_SIZE), "little")
        header = parse_json(file.read(size)) if size <= FACTS else {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}


def _start(path: Path, size: int) -> bytes:
    with opened(path) as file:
        return file.read(size)


PNG = Kind("a PNG picture", begins(b"\x89PNG\r\n\x1a\n"))
