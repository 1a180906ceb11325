"""Who holds a directory, as the file of its lock says: see `chord.run.lock`."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.locking import HELD
from chord.io.reading import opened, read_json
from chord.io.writing import gone

LOCK = ".lock"
OWNER = ".lock.owner"
"""Made instead of a lock where there are none."""
# State: a forked child has to close the locks of its parent.
open_handles: set[int] = set()
"""Of the locks that this process holds."""


def writer(directory: Path) -> str | None:
    """Who writes into a directory at present, in words; None where nobody does."""
    if (directory / OWNER).exists() and not dead(read_owner(directory / OWNER)):
        return who_is(directory / OWNER)
    if sys.platform == "win32" or not (directory / LOCK).exists():
        return None
    # Windows has none.
    import fcntl

    try:
        file = opened(directory / LOCK)
    except (OSError, ValueError):  # a pipe or a directory, which nobody has locked
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return who_is(directory / LOCK) if error.errno in HELD else None
    return None


def other_writer(directory: Path) -> str | None:
    """The same where it is another than this process."""
    this = (os.getpid(), socket.gethostname())
    owner = read_owner(directory / OWNER) or read_owner(directory / LOCK)
    return None if (owner.get("pid"), owner.get("host")) == this else writer(directory)


def undecided(directory: Path) -> bool:
    """Whether the writer of a directory may still give way."""
    owner = read_owner(directory / OWNER) or read_owner(directory / LOCK)
    return bool(owner.get("undecided", not owner))


def refuse_used(directory: Path, setting: str) -> None:
    """Raise `ConfigError` that names the `setting` where a process writes into a directory."""
    if who := writer(directory):
        raise ConfigError(refusal(directory, setting, who))


def refusal(directory: Path, setting: str, owner: str) -> str:
    """Why this process may not write, in a sentence."""
    named = as_typed(setting, directory)
    return f"{named}: is in use by {owner}; wait until it has ended, or end it"


def as_typed(setting: str, directory: Path) -> str:
    """A setting or a flag with its value: `hydra.run.dir=DIR`, `--work DIR`."""
    return f"{setting}{' ' if setting.startswith('--') else '='}{directory}"


def facts(undecided: bool) -> bytes:
    """What the owner says of itself."""
    since = datetime.now().isoformat(" ", "seconds")
    found = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    return json.dumps(found | ({"undecided": True} if undecided else {})).encode()


def read_owner(file: Path) -> dict[str, Any]:
    """What the owner says of itself; nothing while it is about to."""
    with suppress(OSError, ValueError):
        found = read_json(file)
        pid = found.get("pid")
        if {"host", "since"} <= found.keys() and isinstance(pid, int) and 0 < pid < 2**31:
            return found
    return {}


def who_is(file: Path) -> str:
    """An owner in words; it is given a moment to say who it is."""
    owner = read_owner(file)
    for _ in range(10):
        if owner:
            break
        time.sleep(0.05)
        owner = read_owner(file)
    if not owner:
        return "another process"
    return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"


def dead(owner: dict[str, Any]) -> bool:
    """Whether an owner is known to have ended: one of this machine whose process is gone."""
    if owner.get("host") != socket.gethostname():
        return False
    pid = int(owner["pid"])
    return gone(pid) and not (pid == os.getpid() and open_handles)
