"""Compressed files, unpacked once for each process: rows are read from any place of a file."""

from __future__ import annotations

import atexit
import gzip
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.extras import install
from chord.io.reading import opened

PACKED = (".gz", ".zst")


def unpacked(path: Path) -> Path:
    """The content of a .gz or .zst file in a temporary file, which is gone when the process ends.

    Raises ConfigError if it can't be unpacked.
    """
    facts = path.stat()
    return _unpacked(path.resolve(), facts.st_size, facts.st_mtime_ns)


@cache
def _unpacked(path: Path, size: int, modified: int) -> Path:
    place = _directory() / f"{len(list(_directory().iterdir()))}-{path.stem}"
    try:
        with opened(path) as packed, _reader(path, packed) as content, place.open("wb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
    except (EOFError, zlib.error, OSError) as error:
        raise ConfigError(f"can't be unpacked ({error})") from error
    return place


@cache
def _directory() -> Path:
    place = Path(tempfile.mkdtemp(prefix="chord-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _reader(path: Path, packed: Any) -> Any:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=packed)
    return _pyarrow(path).CompressedInputStream(packed, "zstd")


def _pyarrow(path: Path) -> Any:
    try:
        # An optional package.
        import pyarrow
    except ImportError as error:
        raise ConfigError(f"needs pyarrow; {install('parquet')}") from error
    return pyarrow
