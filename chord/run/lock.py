"""A directory has one writer: the process that holds the lock on the file `.lock` in it.

The lock is the operating system's (flock), so it ends with its owner, however that ends, and a
directory whose run was killed is free at once. The file says who the owner is, for others to read,
and while a new run or sweep still looks at its neighbours, that it is undecided: see
`chord.run.neighbours`.

Network file systems: NFS on Linux hands flock to the server (NFSv4, or v3 with its lock daemon),
which lets go of the locks of a machine that was lost when its lease ends, as a rule after 90
seconds. Mounted with `local_lock=flock` or `nolock`, it keeps apart the processes of one machine
only. Where a file system has no locks at all (Lustre without `-o flock`), the owner is the process
that made `.lock.owner`. Such an owner is known to be dead on its own machine alone; from elsewhere
the file has to be deleted by hand, as the error says.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from chord.errors import ConfigError
from chord.io.locking import in_place, locked
from chord.io.writing import missing
from chord.run.owner import (
    LOCK,
    OWNER,
    as_typed,
    dead,
    facts,
    open_handles,
    read_owner,
    refusal,
    who_is,
)

HYDRA = ".hydra"
Check = Callable[[Path], None]
# State: what Hydra's callback has locked for the run that comes after it.
_claimed: dict[Path, Hold] = {}


class Hold:
    """This process's hold on a directory; `ConfigError` where another process has one."""

    def __init__(
        self,
        directory: Path,
        setting: str,
        *,
        made: Sequence[Path] | None = None,
        undecided: bool = False,
    ) -> None:
        """`made`: what has just been made for this, `directory` and those above it.

        `undecided`: whether this may still give way, until `decide` is called.
        """
        self.directory = directory
        self._made: Path | None = None
        self._new = list(missing(directory) if made is None else made)
        self._handle, taken = _taken(directory, setting)
        try:
            if taken:
                self._say(undecided)
            else:
                self._made = _made(directory, setting, undecided)
        except BaseException:
            os.close(self._handle)
            raise
        # A worker that outlives this process must not keep the lock alive.
        open_handles.add(self._handle)

    def _say(self, undecided: bool) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, facts(undecided), 0)

    def decide(self) -> None:
        """Let others know that the directory is kept."""
        if self._made is None:
            self._say(False)
        else:
            self._made.write_bytes(facts(False))

    def release(self) -> None:
        """Let others write."""
        if self._made is not None:
            self._made.unlink(missing_ok=True)
        with suppress(OSError):  # it may be gone, or be written into
            if self._new and all(map(_is_overhead, self.directory.iterdir())):
                # Nothing has come of it.
                _empty(self.directory)
                for path in self._new:
                    path.rmdir()
        open_handles.discard(self._handle)
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


def claim(
    directory: Path,
    setting: str,
    *,
    made: Sequence[Path] | None = None,
    check: Check | None = None,
) -> None:
    """Hold `directory` from now on; a later `held` block takes over. Raises as that does.

    `check` is called once the directory is held; where it raises, the directory is let go.
    """
    if directory.resolve() in _claimed:
        return
    hold = Hold(directory, setting, made=made, undecided=check is not None)
    if check is not None:
        try:
            check(directory)
            hold.decide()
        except BaseException:
            hold.release()
            raise
    _claimed[directory.resolve()] = hold


def claim_new(directory: Path, setting: str, check: Check | None = None) -> Path:
    """Make a directory that is nobody's yet, hold it as `claim` does, and return it.

    `12-00-00`, or where that is there already `12-00-00-2`, and so on.
    """
    above = missing(directory.parent)
    with _place_named(directory, setting):
        path = _made_anew(directory)
    claim(path, setting, made=[path, *above], check=check)
    return path


def _made_anew(directory: Path) -> Path:
    suffix = "_sweep" if directory.name.endswith("_sweep") else ""
    stem, number, path = directory.name.removesuffix(suffix), 1, directory
    while True:
        try:
            # Another that gives way may just have removed it.
            directory.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if not os.path.lexists(path):
                raise
            number += 1
            path = directory.with_name(f"{stem}-{number}{suffix}")
        else:
            return path


def _is_overhead(path: Path) -> bool:
    """Whether a file says nothing of a run: the lock, and what Hydra writes before it begins."""
    return path.name in (LOCK, HYDRA) or path.suffix == ".log"


def _empty(directory: Path) -> None:
    """Remove what is in a directory of overhead alone."""
    for path in directory.iterdir():
        if path.name == HYDRA:
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _place_named(directory: Path, setting: str) -> Iterator[None]:
    """Raise `ConfigError` with the `setting` where a directory can't be made or written into."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{as_typed(setting, directory)}: can't be written ({error.strerror}); give a "
            "directory that can be written into"
        ) from error


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
    named = as_typed(setting, directory)
    raise ConfigError(f"{named}: {LOCK} in it is not a regular file; delete it")


def _taken(directory: Path, setting: str) -> tuple[int, bool]:
    """The open file of the lock, and whether it is locked: there may be no locks."""
    while True:
        with _place_named(directory, setting):
            directory.mkdir(parents=True, exist_ok=True)
            handle = _opened(directory, setting)
        try:
            taken = locked(handle)
            if in_place(handle, directory / LOCK):
                return handle, taken
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(refusal(directory, setting, who_is(directory / LOCK))) from None
        except BaseException:
            os.close(handle)
            raise
        # Its owner has ended and removed it just now.
        os.close(handle)


def _made(directory: Path, setting: str, undecided: bool) -> Path:
    """Make the file of an owner without a lock."""
    file = directory / OWNER
    if dead(read_owner(file)):
        file.unlink(missing_ok=True)
    try:
        with file.open("xb") as stream:
            stream.write(facts(undecided))
    except FileExistsError:
        hint = f"; if it has ended, delete {file}"
        raise ConfigError(refusal(directory, setting, who_is(file)) + hint) from None
    return file


def _close_in_child() -> None:
    for handle in open_handles:
        with suppress(OSError):
            os.close(handle)
    open_handles.clear()
    _claimed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
