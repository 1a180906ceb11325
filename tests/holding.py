"""Holding directories in tests, here and in another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chord.run import lock

US = f"process {os.getpid()} on {socket.gethostname()}, since 2"


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """What a test has claimed, no `held` block has taken over."""
    yield
    let_go_now()


def let_go_now() -> None:
    for hold in lock._claimed.values():
        hold.release()
    lock._claimed.clear()


def elsewhere(directory: Path, *, fork: bool = False) -> subprocess.Popen[str]:
    """A process that holds a directory until it is killed, itself or with a fork of it."""
    code = "import sys, os, time; from pathlib import Path; from chord.run.lock import held\n"
    code += "with held(Path(sys.argv[1]), 'x'):\n"
    code += f"    if {not fork} or os.fork(): print('held', flush=True)\n"
    code += "    time.sleep(600)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
