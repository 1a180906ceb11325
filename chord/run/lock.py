"""A directory has one writer: the process that holds the lock on the file `.lock` in it.

The lock is the operating system's (flock), so it ends with its owner, however that ends, and a
directory whose run was killed is free at once. The file says who the owner is, for others to read.

Network file systems: NFS on Linux hands flock to the server (NFSv4, or v3 with its lock daemon),
which lets go of the locks of a machine that was lost when its lease ends, as a rule after 90
seconds. Mounted with `local_lock=flock` or `nolock`, it keeps apart the processes of one machine
only. Where a file system has no locks at all (Lustre without `-o flock`), the owner is the process
that made `.lock.owner`. Such an owner is known to be dead on its own machine alone; from elsewhere
the file has to be deleted by hand, as the error says.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.reading import opened, read_json
from chord.io.writing import gone

LOCK = ".lock"
HYDRA = ".hydra"
OWNER = ".lock.owner"
"""Made instead of a lock where there are none."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_claimed: dict[Path, Hold] = {}
_open_handles: set[int] = set()


class Hold:
    """This process's hold on a directory; `ConfigError` where another process has one."""

    def __init__(self, directory: Path, setting: str, *, new: bool = False) -> None:
        """`new`: whether the directory has just been made for this."""
        self.directory = directory
        self._made: Path | None = None
        self._new = new or not directory.exists()
        with _place_named(directory, setting):
            directory.mkdir(parents=True, exist_ok=True)
            self._handle = _opened(directory, setting)
        try:
            if _locked(self._handle):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, _facts(), 0)
            else:
                self._made = _made(directory, setting)
        except BlockingIOError:
            os.close(self._handle)
            raise ConfigError(refusal(directory, setting, directory / LOCK)) from None
        except BaseException:
            os.close(self._handle)
            raise
        # A worker that outlives this process must not keep the lock alive.
        _open_handles.add(self._handle)

    def release(self) -> None:
        """Let others write."""
        if self._made is not None:
            self._made.unlink(missing_ok=True)
        with suppress(OSError):  # it may be gone, or be written into
            if self._new and all(map(_is_overhead, self.directory.iterdir())):
                # Nothing has come of it.
                shutil.rmtree(self.directory)
        _open_handles.discard(self._handle)
        os.close(self._handle)


@contextmanager
def held(directory: Path, setting: str) -> Iterator[None]:
    """Within, no other process writes into `directory`, which is made if it isn't there.

    Raises `ConfigError` that names the `setting` and the owner where another process has it.
    """
    hold = _claimed.pop(directory.resolve(), None) or Hold(directory, setting)
    try:
        yield
    finally:
        hold.release()


def claim(directory: Path, setting: str, *, new: bool = False) -> None:
    """Hold `directory` from now on; a later `held` block takes over. Raises as that does."""
    if directory.resolve() not in _claimed:
        _claimed[directory.resolve()] = Hold(directory, setting, new=new)


def claim_new(directory: Path, setting: str) -> Path:
    """Make a directory that is nobody's yet, hold it, and return it.

    `12-00-00`, or where that is there already `12-00-00-2`, and so on.
    """
    with _place_named(directory, setting):
        directory.parent.mkdir(parents=True, exist_ok=True)
        path = _made_anew(directory)
    claim(path, setting, new=True)
    return path


def _made_anew(directory: Path) -> Path:
    suffix = "_sweep" if directory.name.endswith("_sweep") else ""
    stem, number, path = directory.name.removesuffix(suffix), 1, directory
    while True:
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            path = directory.with_name(f"{stem}-{number}{suffix}")
        else:
            return path


def writer(directory: Path) -> str | None:
    """Who writes into a directory at present, in words; None where nobody does."""
    if (directory / OWNER).exists() and not _dead(_read(directory / OWNER)):
        return _who(directory / OWNER)
    if sys.platform == "win32" or not (directory / LOCK).exists():
        return None
    # Here and below: Windows has none.
    import fcntl

    try:
        with opened(directory / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except ValueError:  # a pipe or a directory, which nobody has locked
        return None
    except OSError as error:
        return _who(directory / LOCK) if error.errno in _HELD else None
    return None


def refusal(directory: Path, setting: str, file: Path) -> str:
    """Why this process may not write, in a sentence."""
    return f"{setting}={directory}: is in use by {_who(file)}; wait until it has ended, or end it"


def _is_overhead(path: Path) -> bool:
    """Whether a file says nothing of a run: the lock, and what Hydra writes before it begins."""
    return path.name in (LOCK, HYDRA) or path.suffix == ".log"


@contextmanager
def _place_named(directory: Path, setting: str) -> Iterator[None]:
    """Raise `ConfigError` with the `setting` where a directory can't be made or written into."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{setting}={directory}: can't be written ({error.strerror}); give a directory that "
            "can be written into"
        ) from error


def _who(file: Path) -> str:
    owner = _read(file)
    if not owner:
        return "another process"
    return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"


def _opened(directory: Path, setting: str) -> int:
    """The file of the lock: never one that a link in `directory` leads to."""
    special = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | special, 0o666)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
    raise ConfigError(f"{setting}={directory}: {LOCK} in it is not a regular file; delete it")


def _locked(handle: int) -> bool:
    """Take the lock; False where there are none. BlockingIOError where another process has it."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError from error
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _made(directory: Path, setting: str) -> Path:
    """Make the file of an owner without a lock."""
    file = directory / OWNER
    if _dead(_read(file)):
        file.unlink(missing_ok=True)
    try:
        with file.open("xb") as stream:
            stream.write(_facts())
    except FileExistsError:
        hint = f"; if it has ended, delete {file}"
        raise ConfigError(refusal(directory, setting, file) + hint) from None
    return file


def _facts() -> bytes:
    since = datetime.now().isoformat(" ", "seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _read(file: Path) -> dict[str, Any]:
    """What the owner says of itself; nothing while it is about to."""
    with suppress(OSError, ValueError):
        facts = read_json(file)
        pid = facts.get("pid")
        if {"host", "since"} <= facts.keys() and isinstance(pid, int) and 0 < pid < 2**31:
            return facts
    return {}


def _dead(owner: dict[str, Any]) -> bool:
    """Whether an owner is known to have ended: one of this machine whose process is gone."""
    if owner.get("host") != socket.gethostname():
        return False
    pid = int(owner["pid"])
    return gone(pid) and not (pid == os.getpid() and _open_handles)


def _close_in_child() -> None:
    for handle in _open_handles:
        with suppress(OSError):
            os.close(handle)
    _open_handles.clear()
    _claimed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
