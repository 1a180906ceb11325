"""The command itself, killed with SIGKILL at arbitrary moments and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from conftest import SIGNAL, SMALL
from faults import seeds
from safetensors.torch import load_file
from sweeps import Command, command, contents

__all__ = ["command"]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# More steps than a kill can outrun, small ones.
OVERRIDES = [
    *(setting for setting in SMALL if not setting.startswith(("steps", "trainer.checkpoint"))),
    "steps=60",
    "trainer.checkpoint_every=7",
    "schedule=chord_mu",
    SIGNAL,
]


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "chord.train", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after(process: subprocess.Popen[bytes], path: Path, rows: int) -> None:
    """SIGKILL once the run has written that many rows."""
    deadline = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_killed_twice_ends_as_if_it_never_was(small_models: Path, tmp_path: Path) -> None:
    models = [
        f"model.path={small_models}/base.safetensors",
        f"teacher.path={small_models}/teacher.safetensors",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert started(*OVERRIDES, *models, f"hydra.run.dir={whole}").wait() == 0
    first = started(*OVERRIDES, *models, f"hydra.run.dir={cut}")
    kill_after(first, cut / "metrics.jsonl", 3)
    second = started(f"resume={cut}")
    kill_after(second, cut / "metrics.jsonl", 19)
    assert started(f"resume={cut}").wait() == 0
    for name in ("metrics.jsonl", "evaluations.jsonl", "completions.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    mine, theirs = load_file(cut / "model.safetensors"), load_file(whole / "model.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(theirs[name]) for name in mine)


def killed(command: Command, kill: Callable[[], None], *arguments: str, own: bool = True) -> int:
    """The command in a fork of this process, which arranges for its death first; its exit code."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            kill()
            os._exit(command(*arguments, own=own))
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_file_event(number: int, under: Path, report: Path | None = None) -> Callable[[], None]:
    """SIGKILL just before the so-manieth time that something below a directory is opened, renamed,
    removed or made; without end, the times are counted in a file instead."""

    def arrange() -> None:
        count = 0

        def heard(event: str, given: tuple[object, ...]) -> None:
            nonlocal count
            if event not in EVENTS or not str(given[0]).startswith((str(under), under.name)):
                return
            count += 1
            if report is not None:
                os.pwrite(handle, b"%6d" % count, 0)
            elif count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        handle = os.open(report, os.O_WRONLY | os.O_CREAT) if report is not None else -1
        sys.addaudithook(heard)

    return arrange


def at_moment(seconds: float) -> Callable[[], None]:
    """Death after so much of the process's own time on the processor."""

    def arrange() -> None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)

    return arrange


@pytest.fixture
def uninterrupted(
    command: Command, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, object], int, float]:
    """What a whole run comes to, and its number of file events and seconds of processor time."""
    if not _whole:
        report = tmp_path_factory.mktemp("events") / "count"
        events = at_file_event(0, command.where / "cut", report)
        before = os.times()
        assert killed(command, events, *SHORT, "hydra.run.dir=cut") == 0
        after = os.times()
        spent = after.children_user + after.children_system
        spent -= before.children_user + before.children_system
        path = command.where / "cut"
        _whole.append((contents(path), int(report.read_text()), spent))
        shutil.rmtree(path)
    return _whole[0]


_whole: list[tuple[dict[str, object], int, float]] = []
SHORT = ["steps=5", "trainer.checkpoint_every=2", "evaluation.every=2", "schedule=chord_mu"]
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "shutil.rmtree")


def goes_on_exactly(command: Command, whole: dict[str, object]) -> None:
    """The run in `cut` is resumed, or started where there is none yet, and ends as if it had never
    been killed, with nothing of the kill left."""
    cut = command.where / "cut"
    resumed = (cut / "run.json").exists()
    words = ["resume=cut"] if resumed else [*SHORT, "hydra.run.dir=cut"]
    assert command(*words, own=not resumed) == 0, command.err
    assert contents(cut) == whole
    assert command.status("cut")["status"] == "finished"
    left = [path.name for path in cut.rglob("*") if path.suffix in (".partial", ".tmp")]
    assert not left


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("seed", seeds(few=3, full=100))
def test_a_run_killed_at_any_file_event_goes_on_exactly(
    command: Command, uninterrupted: tuple[dict[str, object], int, float], seed: int
) -> None:
    whole, events, _ = uninterrupted
    number = Random(seed).randint(1, events)
    code = killed(
        command, at_file_event(number, command.where / "cut"), *SHORT, "hydra.run.dir=cut"
    )
    assert code == -signal.SIGKILL
    goes_on_exactly(command, whole)


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("seed", seeds(few=2, full=100))
def test_a_run_killed_at_any_moment_goes_on_exactly(
    command: Command, uninterrupted: tuple[dict[str, object], int, float], seed: int
) -> None:
    whole, _, seconds = uninterrupted
    moment = Random(seed).uniform(0.05, 1) * seconds
    code = killed(command, at_moment(moment), *SHORT, "hydra.run.dir=cut")
    # Its own time is not quite the same every time.
    assert code in (-signal.SIGPROF, 0)
    goes_on_exactly(command, whole)


def at_rename(number: int) -> Callable[[], None]:
    """SIGKILL just before a file is put in its place for the so-manieth time."""

    def arrange() -> None:
        count = 0

        def heard(event: str, given: tuple[object, ...]) -> None:
            nonlocal count
            if event != "os.rename":
                return
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(heard)

    return arrange


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_run_killed_while_it_is_lengthened_is_not_finished(command: Command) -> None:
    assert command("steps=2", "hydra.run.dir=first") == 0
    shutil.copytree(command.where / "first", command.where / "whole")
    assert command("resume=whole", "steps=4", own=False) == 0
    expected = contents(command.where / "whole")
    lengths = []
    # The status comes first, then config.yaml, run.json, and the rows.
    for number in (1, 2, 3, 4):
        cut = command.where / "cut"
        shutil.copytree(command.where / "first", cut)
        code = killed(command, at_rename(number), "resume=cut", "steps=4", own=False)
        assert code == -signal.SIGKILL
        assert command.status("cut")["status"] == ("finished" if number == 1 else "running")
        lengths.append(json.loads((cut / "run.json").read_text())["config"]["steps"])
        assert command("resume=cut", "steps=4", own=False) == 0
        assert contents(cut) == expected
        assert command.status("cut") == command.status("whole")
        shutil.rmtree(cut)
    assert lengths == [2, 2, 2, 4]
