"""A signal stops a run behind the step it is in, with a checkpoint; it goes on exactly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sweeps import Command, command
from test_sweep import contents

from chord.checkpoint import read_checkpoint
from chord.recorder import Recorder
from chord.signals import SIGNALS, Signals, Stopped

__all__ = ["command"]
RUN = ["steps=5", "trainer.checkpoint_every=100", "weighting=phi"]


def sent(patch: pytest.MonkeyPatch, number: int, step: int) -> None:
    """Send a signal while a step is being recorded."""
    original = Recorder.train

    def train(self: Recorder, at: int, *rest: object) -> None:
        original(self, at, *rest)  # type: ignore[arg-type]
        if at == step:
            os.kill(os.getpid(), number)

    patch.setattr(Recorder, "train", train)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_stop_checkpoints_first(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert command(*RUN, "hydra.run.dir=whole") == 0
    before = [signal.getsignal(each) for each in SIGNALS]
    with monkeypatch.context() as patch:
        sent(patch, number, 2)
        assert command(*RUN, "hydra.run.dir=cut") == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert "to go on from the last checkpoint: python -m chord.train resume=cut" in command.err
    assert command.status("cut")["status"] == "interrupted"
    # Behind the third step, although none was due.
    assert read_checkpoint(command.where / "cut")[0] == 3
    assert command("resume=cut", own=False) == 0
    assert contents(command.where / "cut") == contents(command.where / "whole")


def test_a_job_that_is_asked_to_stop_ends_its_sweep_which_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ["-m", *RUN, "seed=0,1"]
    with monkeypatch.context() as patch:
        sent(patch, signal.SIGTERM, 2)
        assert command(*grid, "hydra.sweep.dir=cut") == 128 + signal.SIGTERM
    assert command.status("cut/0")["status"] == "interrupted"
    assert read_checkpoint(command.where / "cut/0")[0] == 3
    assert "resume_sweep=cut" in command.err
    assert command(*grid, "resume_sweep=cut") == 0
    assert command(*grid, "hydra.sweep.dir=whole") == 0
    for job in ("0", "1"):
        assert contents(command.where / "cut" / job) == contents(command.where / "whole" / job)


def test_the_former_handler_decides_what_follows(tmp_path: Path) -> None:
    heard: list[int] = []

    def requeue(number: int, frame: object) -> None:
        heard.append(number)
        raise SystemExit(-1)

    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        signal.signal(signal.SIGUSR2, requeue)
        signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signals = Signals()
        signals.watch()
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
            assert signals.received == number
            signals.act()  # the run goes on
            assert signals.received is None
        os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(Stopped) as stopped:
            signals.act()
        assert type(stopped.value.__cause__) is SystemExit
        assert heard == [signal.SIGTERM, signal.SIGUSR2]
        os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(Stopped):  # a second one does not wait
            os.kill(os.getpid(), signal.SIGUSR2)
        signals.restore()
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
