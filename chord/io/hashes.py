"""SHA-256 of files and directories; those of large files are kept, as reading them takes long."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from chord.io.reading import opened

LARGE = 16 << 20
"""Bytes from which a hash is kept; a smaller file is read in some hundredths of a second."""
SETTLED = 10 * 10**9
"""Nanoseconds after its last change from which a file's times tell it from a later change.

Within a file system's clock tick, two seconds on some, a change may leave them as they were.
"""


def cache_directory() -> Path:
    """Where this user's chord keeps what can be made again: $CHORD_CACHE, else ~/.cache/chord."""
    return Path(os.environ.get("CHORD_CACHE", "~/.cache/chord")).expanduser()


def hash_of(path: Path) -> tuple[str, int]:
    """SHA-256 and bytes of a file, or of a directory's files, each with its name.

    Hidden files and Python's caches are left out. Raises OSError where it can't be read.
    """
    if not path.is_dir():
        return file_hash(path), path.stat().st_size
    lines, size = [], 0
    for file in sorted(_files(path)):
        lines.append(f"{file_hash(file)}  {file.relative_to(path).as_posix()}\n")
        size += file.stat().st_size
    return hashlib.sha256("".join(lines).encode()).hexdigest(), size


def _files(directory: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        files = (Path(place, name) for name in names if not name.startswith("."))
        # A link to a blob is a file like others; a pipe would never end.
        found += [file for file in files if file.is_file()]
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file, of a large one from the cache where its size and times are the same."""
    before, now = _stamp(path), time.time_ns()
    if before["bytes"] < LARGE:
        return _read(path)
    entry = _entry(path)
    # Another process may be writing, or have written something else there.
    with suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(entry.read_text())
        if known["stamp"] == before and isinstance(known["sha256"], str):
            return str(known["sha256"])
    digest = _read(path)
    # What changes it from now on, while it is read too, gives it another stamp.
    if _settled(before, now):
        _keep(entry, {"stamp": before, "sha256": digest})
    return digest


def _settled(stamp: dict[str, int], now: int) -> bool:
    """Whether a later change can't leave the times as they are."""
    return now - max(stamp["changed"], stamp["modified"]) > SETTLED


def _stamp(path: Path) -> dict[str, int]:
    """What tells a file from the same file with other content, without reading it."""
    found = path.stat()
    return {
        "bytes": found.st_size,
        "modified": found.st_mtime_ns,
        # Whoever sets the time of modification back can't set this one.
        "changed": found.st_ctime_ns,
        "file": found.st_ino,
    }


def _read(path: Path) -> str:
    try:
        file = opened(path)
    except ValueError as error:
        raise OSError(str(error)) from error
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return cache_directory() / "hashes" / f"{name}.json"


def _keep(entry: Path, facts: dict[str, object]) -> None:
    """Write an entry; where there is no place for it, or half of it, the file is read again."""
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(json.dumps(facts))
