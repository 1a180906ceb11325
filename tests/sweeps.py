"""Typing a sweep: the command itself, run in this process, on very small models."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL

from chord import train
from chord.io.printing import FULL, OURS
from chord.run.recorder import Recorder

FILES = ("metrics.jsonl", "evaluations.jsonl", "completions.jsonl")


def small(models: Path) -> list[str]:
    """Settings of a run of a fraction of a second."""
    paths = [f"{name}.path={models}/{file}.safetensors" for name, file in MODELS.items()]
    return [*SMALL, *paths]


MODELS = {"model": "base", "teacher": "teacher"}


class Command:
    """`command('-m', 'seed=0,1')`: the exit code; what was printed is in `out` and `err`.

    The settings of a small run go first, unless `own` is False.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        where: Path,
        models: Path,
    ) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.where, self.small = where, small(models)
        self.out = self.err = ""

    def __call__(self, *arguments: str, own: bool = True) -> int:
        with self.monkeypatch.context() as patch:
            patch.chdir(self.where)
            # Set first, so that what the command sets is taken back.
            for name in (FULL, OURS):
                patch.setenv(name, "1")
                patch.delenv(name)
            patch.setenv("COLUMNS", "200")
            flags = [word for word in arguments if word.startswith("-")]
            small = self.small if own else []
            words = [word for word in arguments if not word.startswith("-")]
            patch.setattr(sys, "argv", ["chord-train", *flags, *small, *words])
            ctrl_c = signal.getsignal(signal.SIGINT)
            handlers, level = list(logging.root.handlers), logging.root.level
            try:
                train.main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
            finally:
                signal.signal(signal.SIGINT, ctrl_c)
                for handler in set(logging.root.handlers) - set(handlers):
                    handler.close()
                logging.root.handlers[:] = handlers
                logging.root.setLevel(level)
        self.out, self.err = self.capsys.readouterr()
        return code

    def status(self, job: str) -> dict[str, Any]:
        """A run directory's status.json."""
        return dict(json.loads((self.where / job / "status.json").read_text()))

    def rows(self) -> list[list[str]]:
        """The lines of the status table, cell by cell."""
        lines = self.out.split("Sweep ")[1].splitlines()[3:]
        return [line.split() for line in lines if line.strip() and "──" not in line]


def undisturbed(command: Command, *words: str) -> Path:
    """The directory of such a run that nothing stops: made once in a process, not to be changed."""
    if words not in _undisturbed:
        assert command(*words, "hydra.run.dir=whole") == 0, command.err
        _undisturbed[words] = command.where / "whole"
    return _undisturbed[words]


_undisturbed: dict[tuple[str, ...], Path] = {}


def interrupt_at(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in the so-manieth train step from now on, counted over all jobs."""
    original, calls = Recorder.train, []

    def interrupted(self: Recorder, step: int, *rest: object) -> None:
        calls.append(step)
        if len(calls) == steps:
            raise KeyboardInterrupt
        original(self, step, *rest)  # type: ignore[arg-type]

    patch.setattr(Recorder, "train", interrupted)


def damaged(models: Path, where: Path) -> Path:
    """A model that can't be loaded, though its header can be read."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = where / "damaged.safetensors"
    with safe_open(models / "base.safetensors", framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors.popitem()
    save_file(tensors, path, metadata=header)
    return path


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    small_models: Path,
) -> Command:
    return Command(monkeypatch, capsys, tmp_path, small_models)


def contents(path: Path) -> dict[str, bytes]:
    """The files of a finished run that must be the same in a run that was cut short."""
    return {name: (path / name).read_bytes() for name in (*FILES, "model.safetensors")}
