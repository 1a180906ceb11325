"""Whether a file of a run is as its writer left it."""

from __future__ import annotations

import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from chord.errors import ConfigError
from chord.io.writing import VANISHED, VanishedError
from chord.run.owner import other_writer


class TamperedError(ConfigError):
    """Somebody else has changed a file of a run, or taken its directory away."""

    def __init__(self, path: Path, run_dir: Path, without: str = "") -> None:
        said = (
            f"{path}: was removed or changed while the run was writing it; resume={run_dir} goes "
            f"on from the last checkpoint{without}"
        )
        gone = f"{run_dir}: was moved or removed while the run was writing into it"
        super().__init__(said if run_dir.is_dir() else gone)


def vanished(error: VanishedError, run_dir: Path, kept: str) -> str:
    """What is known of a file of a run that was taken away while it was written, in a sentence.

    `kept`: what there is to go on from.
    """
    path = str(error.filename)
    if not run_dir.is_dir():
        return f"{TamperedError(Path(path), run_dir)}; {kept}"
    who = other_writer(run_dir)
    said = f"{VANISHED}: {who}, works in {run_dir}" if who else error.strerror
    return (
        f"{path}: {said}; {kept}, and resume={run_dir} goes on from there once no other process "
        "works in it"
    )


@dataclass
class Left:
    """A file as this process has left it: `checksum` of its `size` bytes, `stamp` of when."""

    size: int = 0
    checksum: int = 0
    stamp: tuple[int, int] | None = None

    @classmethod
    def of(cls, path: Path) -> Left:
        """The file as it is now."""
        left = cls()
        if path.exists():
            left.add(path, path.read_bytes())
        return left

    def add(self, path: Path, content: bytes) -> None:
        """`content` has been added to it."""
        self.size += len(content)
        self.checksum = zlib.crc32(content, self.checksum)
        self.stamp = _stamp(path.lstat())

    def is_there(self, path: Path) -> bool:
        """Whether it is as it was left; it is only read where somebody has written it since."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return self.size == 0
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            return False
        # A stamp alone proves nothing: not every file system keeps its own.
        if _stamp(found) != self.stamp and zlib.crc32(path.read_bytes()) != self.checksum:
            return False
        self.stamp = _stamp(found)
        return True


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_mtime_ns


def no_link(path: str, flags: int) -> int:
    """An `opener` that follows no link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
