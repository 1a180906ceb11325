"""The operating system's lock on an open file, and a file that one process alone writes."""

from __future__ import annotations

import errno
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from chord.errors import ConfigError
from chord.io.writing import missing

HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def locked(handle: int) -> bool:
    """Take the lock; False where there are none. BlockingIOError where another process has it."""
    if sys.platform == "win32":
        return False
    # Windows has none.
    import fcntl

    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            if error.errno not in HELD:
                raise
        else:
            return True
        try:
            # One who only looks is gone in a moment, and lets others look.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise BlockingIOError from error
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(random.uniform(0, 0.01))


def in_place(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`: its former owner may have removed it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.stat(path))
    return False


@contextmanager
def sole_writer(path: Path, named: str) -> Iterator[BinaryIO]:
    """A file to read and to write at its end, made if it isn't there, which no other process has.

    Raises `ConfigError` that begins with `named` where another process has it. A file that was
    made for this, and is still empty, is removed.
    """
    made, above = not path.exists(), missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("a+b")
        try:
            locked(file.fileno())
            if in_place(file.fileno(), path):
                break
        except BlockingIOError:
            file.close()
            raise ConfigError(
                f"{named}: another process is writing it; wait until it has ended, or give another "
                "file"
            ) from None
        file.close()
    with file:
        try:
            yield file
        finally:
            file.flush()
            if made and os.fstat(file.fileno()).st_size == 0:
                path.unlink(missing_ok=True)
                with suppress(OSError):  # another may have written there
                    for directory in above:
                        directory.rmdir()
