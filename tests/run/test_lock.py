"""A lock: one process holds a directory, and is named to everybody else."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from holding import US, elsewhere, kill, let_go

from chord.errors import ConfigError
from chord.run.lock import Hold, claim, claim_new, held
from chord.run.owner import LOCK, OWNER, who_is, writer

__all__ = ["let_go"]

pytestmark = pytest.mark.faults


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with held(tmp_path / "run", "resume"):
        with pytest.raises(ConfigError) as refused, held(tmp_path / "run", "resume"):
            pass
        assert str(refused.value).startswith(f"resume={tmp_path}/run: is in use by {US}")
        assert str(refused.value).endswith("; wait until it has ended, or end it")
        # The refused one has not undone the lock by closing its file.
        with pytest.raises(ConfigError), held(tmp_path / "run", "resume"):
            pass
    # Nothing has come of a directory that was made for it.
    assert not (tmp_path / "run").exists()
    with held(tmp_path / "run", "resume"):
        (tmp_path / "run" / "x").touch()
    assert (tmp_path / "run" / LOCK).exists()


def test_what_is_claimed_is_taken_over_once(tmp_path: Path) -> None:
    claim(tmp_path, "x")
    claim(tmp_path, "x")
    with held(tmp_path, "x"), pytest.raises(ConfigError), held(tmp_path, "x"):
        pass
    with held(tmp_path, "x"):
        pass


def test_names_after_the_time_are_numbered_where_they_are_taken(tmp_path: Path) -> None:
    names = [claim_new(tmp_path / "day" / "12-00-00", "x").name for _ in range(3)]
    assert names == ["12-00-00", "12-00-00-2", "12-00-00-3"]
    sweeps = [claim_new(tmp_path / "12-00-00_sweep", "x").name for _ in range(2)]
    assert sweeps == ["12-00-00_sweep", "12-00-00-2_sweep"]


def test_many_at_once_get_a_directory_each(tmp_path: Path) -> None:
    found: list[Path] = []
    together = threading.Barrier(16)

    def take() -> None:
        together.wait()
        found.append(claim_new(tmp_path / "12-00-00", "x"))

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def holds(pid: int, file: Path) -> bool:
    """Whether a process has a file open."""
    return any(os.path.realpath(each) == str(file) for each in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_killed_owner_holds_nothing_though_a_fork_of_it_lives(tmp_path: Path) -> None:
    owner = elsewhere(tmp_path, fork=True)
    facts = json.loads((tmp_path / LOCK).read_text())
    assert facts["pid"] == owner.pid
    with pytest.raises(ConfigError, match=f"process {owner.pid} on "), held(tmp_path, "x"):
        pass
    children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    # The fork lets go as the first thing it does, which may be a moment after it is there.
    for _ in range(3000):
        if not any(holds(int(child), tmp_path / LOCK) for child in children):
            break
        time.sleep(0.01)
    kill(owner)
    try:
        with held(tmp_path, "x"):
            pass
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_file_stands_for_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import fcntl

    def none(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        held(tmp_path, "x"),
        pytest.raises(ConfigError, match=f"in use by {US}.*; if it has"),
        held(tmp_path, "x"),
    ):
        pass
    assert not (tmp_path / OWNER).exists()
    # Its owner is dead: a process that has been waited for has no number any more.
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    facts = {"pid": gone.pid, "host": socket.gethostname(), "since": "2026-01-31 12:00:00"}
    (tmp_path / OWNER).write_text(json.dumps(facts))
    assert writer(tmp_path) is None
    with held(tmp_path, "x"):
        pass
    # Of another machine's nothing is known.
    (tmp_path / OWNER).write_text(json.dumps({**facts, "host": "elsewhere"}))
    with pytest.raises(ConfigError) as refused, held(tmp_path, "x"):
        pass
    assert str(refused.value) == (
        f"x={tmp_path}: is in use by process {gone.pid} on elsewhere, since 2026-01-31 12:00:00; "
        f"wait until it has ended, or end it; if it has ended, delete {tmp_path}/{OWNER}"
    )


@pytest.mark.parametrize("take", [Hold, claim_new])
def test_a_place_where_no_directory_can_be_made_is_named_with_its_setting(
    tmp_path: Path, take: Callable[[Path, str], object]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^x=.*/file/d: can't be written \(.*\); give a"):
        take(tmp_path / "file" / "d", "x")


def test_an_owner_is_given_a_moment_to_say_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It locks the file before it writes into it."""
    lock = tmp_path / ".lock"
    lock.touch()
    facts = {"pid": 7, "host": "h", "since": "now"}
    monkeypatch.setattr("chord.run.owner.time.sleep", lambda _: lock.write_text(json.dumps(facts)))
    assert who_is(lock) == "process 7 on h, since now"
    # One that never does is told all the same.
    monkeypatch.setattr("chord.run.owner.time.sleep", lambda _: None)
    lock.write_text("")
    assert who_is(lock) == "another process"
