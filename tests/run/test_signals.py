"""A signal stops a run behind the step it is in, with a checkpoint; it goes on exactly."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sweeps import Command, command, contents, undisturbed

from chord.distributed.signals import SIGNALS, Signals, Stopped
from chord.evaluation.report import Report
from chord.run import loop as fit
from chord.run import together, training
from chord.run.checkpoint import read_checkpoint
from chord.run.directory import RunDirectory
from chord.run.files import read_rows
from chord.run.opening import configuration
from chord.run.recorder import Recorder
from chord.run.trained import trained_model
from chord.tracking import Tracker

__all__ = ["command"]

pytestmark = pytest.mark.faults
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
    whole = undisturbed(command, *RUN)
    before = [signal.getsignal(each) for each in SIGNALS]
    with monkeypatch.context() as patch:
        sent(patch, number, 2)
        assert command(*RUN, "hydra.run.dir=cut") == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert "to continue from the last checkpoint: python -m chord.train resume=cut" in command.err
    assert command.status("cut")["status"] == "interrupted"
    # Behind the third step, although none was due.
    assert read_checkpoint(command.where / "cut")[0] == 3
    assert command("resume=cut", own=False) == 0
    assert contents(command.where / "cut") == contents(whole)


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
        signals = Signals()
        signals.watch()
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        signals.act()  # the run goes on
        assert signals.received is None
        assert heard == [signal.SIGTERM]
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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_was_ignored_stays_ignored(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def sent_in_vain() -> None:
        assert signal.getsignal(number) is signal.SIG_IGN
        os.kill(os.getpid(), number)
        assert signals.received is None

    signal.signal(number, signal.SIG_IGN)
    others = {each: signal.getsignal(each) for each in SIGNALS}
    with Signals() as signals:
        sent_in_vain()
        # As Lightning does for SIGTERM.
        signal.signal(number, lambda number, frame: None)
        signals.watch()
        signals.steps()
        sent_in_vain()
        for alone in (True, False):
            with signals.evaluating(alone=alone):
                sent_in_vain()
        with signals.held_back():
            sent_in_vain()
        assert all(signal.getsignal(e) != others[e] for e in SIGNALS if e != number)
        signals.unwatch()
        sent_in_vain()
    assert {each: signal.getsignal(each) for each in SIGNALS} == others
    assert capfd.readouterr() == ("", "")


def test_an_ignored_signal_costs_a_run_no_evaluation(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with monkeypatch.context() as patch:
        at_call(patch, fit, "evaluate_as", *SIGNALS)
        sent(patch, signal.SIGTERM, 1)
        assert command("steps=2", "evaluation.every=1", "hydra.run.dir=r") == 0
    assert "stopping after" not in command.err
    rows = read_rows(command.where / "r" / "evaluations.jsonl")
    assert [row["step"] for row in rows if row["split"] == "val"] == [0, 1, 2]


def at_call(patch: pytest.MonkeyPatch, owner: object, name: str, *numbers: int) -> None:
    """Send signals, one after the other, when a function is called."""
    original = getattr(owner, name)

    def signalled(*given: object, **named: object) -> object:
        for number in numbers:
            os.kill(os.getpid(), number)
        return original(*given, **named)

    patch.setattr(owner, name, signalled)


@pytest.mark.parametrize(
    ("owner", "name", "number", "completed"),
    [
        (training, "introduce", signal.SIGTERM, 0),  # before the loop
        (fit, "evaluate_as", signal.SIGINT, 0),  # while the base model is evaluated
        (fit, "plot_run", signal.SIGHUP, 5),  # after the last step
        (fit, "print_summary", signal.SIGUSR1, 5),  # in the closing table
    ],
)
def test_a_signal_outside_a_step_leaves_a_true_status(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    owner: ModuleType,
    name: str,
    number: int,
    completed: int,
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, number)
        assert command(*RUN, "hydra.run.dir=cut") == 128 + number
    assert command.status("cut")["status"] == "interrupted"
    assert read_checkpoint(command.where / "cut").completed == completed
    assert "Traceback" not in command.err
    assert command("resume=cut", own=False) == 0
    assert command.status("cut")["status"] == "finished"


def test_a_killed_run_whose_resume_is_stopped_before_it_begins_was_interrupted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("steps=2", "hydra.run.dir=r") == 0
    for former, later in (("running", "interrupted"), ("finished", "finished")):
        facts = {**command.status("r"), "status": former}
        (command.where / "r" / "status.json").write_text(json.dumps(facts))
        with monkeypatch.context() as patch:
            at_call(patch, training, "load", signal.SIGTERM)
            assert command("resume=r", "steps=3", own=False) == 128 + signal.SIGTERM
        assert command.status("r") == {**facts, "status": later}


# Within the loop Lightning hears Ctrl-C too; around it the one is like the other.
@pytest.mark.parametrize(
    ("evaluation", "completed", "number"),
    [
        (1, 0, signal.SIGTERM),
        (2, 2, signal.SIGINT),
        (2, 2, signal.SIGTERM),
        (4, 5, signal.SIGINT),
    ],
    ids=["base", "between, by Ctrl-C", "between", "last, by Ctrl-C"],
)
def test_a_signal_breaks_an_evaluation_off_which_the_resumed_run_makes(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    evaluation: int,
    completed: int,
    number: int,
) -> None:
    words = [*RUN, "evaluation.every=2"]
    whole = undisturbed(command, *words)
    calls: list[int] = []
    original = fit.evaluate_as

    def signalled(*given: Any, **named: Any) -> Report:
        calls.append(1)
        if len(calls) == evaluation:
            os.kill(os.getpid(), number)
            raise AssertionError("the evaluation goes on")
        return original(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "evaluate_as", signalled)
        assert command(*words, "hydra.run.dir=cut") == 128 + number
    assert "stopping after" not in command.err
    assert "Traceback" not in command.err
    assert command.status("cut")["status"] == "interrupted"
    assert read_checkpoint(command.where / "cut").completed == completed
    rows = read_rows(command.where / "cut" / "evaluations.jsonl")
    # Every second step is evaluated and the last one, but the one of the signal.
    assert [row["step"] for row in rows] == [0, 2, 4, 5][: evaluation - 1]
    assert command("resume=cut", own=False) == 0
    assert contents(command.where / "cut") == contents(whole)


def test_an_evaluation_that_is_due_after_a_signal_is_made_by_the_resumed_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*RUN, "evaluation.every=2"]
    whole = undisturbed(command, *words)
    with monkeypatch.context() as patch:
        sent(patch, signal.SIGINT, 3)
        assert command(*words, "hydra.run.dir=cut") == 130
    rows = read_rows(command.where / "cut" / "evaluations.jsonl")
    assert [row["step"] for row in rows] == [0, 2]
    assert read_checkpoint(command.where / "cut").completed == 4
    assert command("resume=cut", own=False) == 0
    assert contents(command.where / "cut") == contents(whole)


def test_a_process_that_the_first_has_started_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "hydra.job.name=train_ddp_process_1"])
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        with pytest.raises(Stopped):  # a second one does not wait
            os.kill(os.getpid(), signal.SIGTERM)
        # Nobody knows of it yet, and with the code 0 Lightning would let the first wait for it.
        with pytest.raises(Stopped) as left:
            together._leave(Stopped(128 + signal.SIGTERM))
    assert left.value.code == 128 + signal.SIGTERM


def test_what_is_awaited_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with Signals() as signals:
        signals.watch()
        with signals.evaluating(alone=False):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        assert "stopping after this evaluation; press Ctrl-C again" in capfd.readouterr().err
        signals.received = None
        signals.steps()
        os.kill(os.getpid(), signal.SIGINT)
        assert "stopping after this step; press Ctrl-C again" in capfd.readouterr().err
        signals.received = None


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_writes_a_checkpoint_and_twice_it_does_not_wait(
    command: Command, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    with monkeypatch.context() as patch:
        original = Recorder.train

        def train(self: Recorder, at: int, *rest: object) -> None:
            original(self, at, *rest)  # type: ignore[arg-type]
            for _ in range(times if at == 2 else 0):
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Recorder, "train", train)
        assert command(*RUN, "hydra.run.dir=cut") == 130
    assert read_checkpoint(command.where / "cut").completed == (3 if times == 1 else 0)
    assert command.status("cut")["status"] == "interrupted"
    assert command.err.endswith("interrupted\n")
    assert "Traceback" not in command.err


def test_a_signal_while_the_status_is_written_waits_for_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chord.run import status

    with monkeypatch.context() as patch:
        at_call(patch, status, "write_atomically", signal.SIGTERM)
        assert command("steps=1", "hydra.run.dir=r") == 128 + signal.SIGTERM
    # It had begun, which was written as a whole; then it was interrupted, and so was that.
    assert command.status("r")["status"] == "interrupted"
    original = status.record

    def record(run: RunDirectory, how: str, error: str | None = None) -> None:
        if how == "finished":
            os.kill(os.getpid(), signal.SIGTERM)
        original(run, how, error)

    with monkeypatch.context() as patch:
        patch.setattr(status, "record", record)
        assert command("steps=1", "hydra.run.dir=s") == 128 + signal.SIGTERM
    assert command.status("s")["status"] == "finished"


def test_a_lengthened_run_that_is_interrupted_is_not_its_former_end(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("steps=2", "hydra.run.dir=cut") == 0
    assert command("steps=2", "hydra.run.dir=whole") == 0
    assert command("resume=whole", "steps=6", own=False) == 0
    former = trained_model(command.where / "cut", configuration(command.where / "cut"))
    with monkeypatch.context() as patch:
        sent(patch, signal.SIGTERM, 3)
        assert command("resume=cut", "steps=6", own=False) == 128 + signal.SIGTERM
    now = trained_model(command.where / "cut", configuration(command.where / "cut"))
    saved = read_checkpoint(command.where / "cut")
    assert saved.completed == 4
    assert saved.weights is not None
    weights = now.state_dict()
    assert all(weights[name].equal(saved.weights[name]) for name in saved.weights)
    assert not all(former.state_dict()[name].equal(weights[name]) for name in saved.weights)
    assert command("resume=cut", own=False) == 0
    assert contents(command.where / "cut") == contents(command.where / "whole")


def test_a_job_that_was_killed_with_its_launcher_was_interrupted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chord.run import status

    def killed(run: RunDirectory, how: str, error: str | None = None) -> None:
        if how == "running":
            original(run, how, error)

    original = status.record
    with monkeypatch.context() as patch:
        patch.setattr(status, "record", killed)
        sent(patch, signal.SIGTERM, 1)
        assert command("-m", *RUN, "seed=0,1", "hydra.sweep.dir=s") == 128 + signal.SIGTERM
    assert command.status("s/0")["status"] == "interrupted"
    assert "interrupted" in command.out


def test_a_run_whose_terminal_was_closed_was_interrupted(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Tracker, exit_code: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        sent(patch, signal.SIGHUP, 1)
        patch.setattr(Tracker, "finish", closed)
        assert command(*RUN, "hydra.run.dir=r") == 1
    assert command.status("r")["status"] == "interrupted"
    assert read_checkpoint(command.where / "r").completed == 2
