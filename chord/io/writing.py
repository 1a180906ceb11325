"""Files that are there as a whole or not at all: written beside their place, then put into it.

What a kill leaves beside it is removed at the next start of the run, or when the same file is next
written. It is named `.NAME.HOST-PID.partial`, so that nobody takes what a live process is writing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chord.errors import ConfigError

PARTIAL = ".partial"
VANISHED = "vanished, unfinished, while it was written"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class UnwrittenError(ConfigError):
    """A file that can't be written, for lack of space as a rule, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        kept = "the former file is kept" if os.path.exists(self.path) else "no part of it is left"
        return f"{self.path}: can't be written ({self.why}); {kept}"


class VanishedError(FileNotFoundError):
    """What was being written is gone, and this process has not removed it."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that a kill leaves either the old file or the new one."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def json_file(facts: Mapping[str, Any], default: Callable[[Any], Any] | None = None) -> bytes:
    """What a file of facts holds, which people read too. `default`: what becomes of other types."""
    return json.dumps(facts, indent=2, default=default).encode() + b"\n"


def write_in_place(path: Path, content: bytes) -> None:
    """Write over a file. It takes no more space than it has, as a rule, also on a full disk."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block has ended.

    Nothing is left of it where the block fails. Raises `UnwrittenError` for a disk that is full,
    and `VanishedError` where somebody else has taken away what was written.
    """
    partial = _beside(path)
    try:
        with full_disk_said(path), _vanishing_said(path, partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_directory(directory: Path, *, new: bool = False) -> Iterator[Path]:
    """A directory to write into, which takes the place of `directory` when the block has ended.

    Where that fails nothing is left of it, and what was in its place is there still. Raises as
    `whole_file` does; with `new`, OSError where something has come to lie at `directory`.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(directory)
    former = partial.with_name(f".former{partial.name}")
    partial.mkdir()
    try:
        with full_disk_said(directory), _vanishing_said(directory, partial):
            yield partial
            # A directory that holds something is not renamed over.
            if directory.exists() and not new:
                directory.rename(former)
            partial.rename(directory)
    except BaseException:
        with suppress(OSError):  # it is still in its place
            former.rename(directory)
        raise
    finally:
        for path in (partial, former):
            shutil.rmtree(path, ignore_errors=True)


def refuse_unwritable(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where no file can be written at `path`.

    Nothing is left behind: what is tried is tried in the nearest directory that there is.
    """
    place = next(above for above in path.absolute().parents if os.path.lexists(above))
    try:
        if os.path.lexists(path):
            with path.open("r+b"):
                pass
        probe = _beside(place / path.name)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"{named}: can't be written ({error.strerror}); give another place"
        ) from error


def missing(directory: Path) -> list[Path]:
    """Which of a directory and those above it are not there, the innermost first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def remove_partials(directory: Path) -> None:
    """Remove what a killed process left in a directory that nobody else writes into."""
    for path in (*directory.glob(f"*{PARTIAL}"), *directory.glob(f".*{PARTIAL}")):
        _remove(path)


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """A full disk is an `UnwrittenError` that names `path`, whichever library has met it."""
    try:
        yield
    except Exception as error:
        if (number := _number(error)) is None:
            raise
        raise UnwrittenError(str(path), os.strerror(number)) from error


@contextmanager
def _vanishing_said(path: Path, partial: Path) -> Iterator[None]:
    """That `partial`, or what is in it, is not there is a `VanishedError` that names `path`."""
    try:
        yield
    except FileNotFoundError as error:
        named = Path(str(error.filename))
        if partial not in (named, *named.parents):
            raise
        said = f"{VANISHED}: its directory was moved, or another process works in it"
        raise VanishedError(errno.ENOENT, said, str(path)) from error


def _number(error: BaseException | None) -> int | None:
    """The system's number of a full disk among what has raised an error."""
    while error is not None:
        # torch's writer raises its own error while it handles the system's; the other speaks Rust.
        said = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
        if number in _FULL:
            return number
        error = error.__cause__ or error.__context__
    return None


def _beside(path: Path) -> Path:
    """Where this process writes what is to be `path`; what dead ones have left there is removed."""
    host = socket.gethostname()
    for other in path.parent.glob(f".*{PARTIAL}"):
        owner = other.name.removeprefix(f".{path.name}.{host}-").removesuffix(PARTIAL)
        if owner.isdigit() and gone(int(owner)):
            _remove(other)
    return path.with_name(f".{path.name}.{host}-{os.getpid()}{PARTIAL}")


def gone(pid: int) -> bool:
    """Whether a process of this machine has ended, as far as that is known.

    Of our own number was one before us, in the same container after a restart.
    """
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return pid == os.getpid()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
