"""Runs that a kill breaks off, and runs that end; `ended` and `finished` are fixtures."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SIGNAL, compose_config, small_composed

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.run.checkpointing import Checkpointing
from chord.run.directory import RunDirectory
from chord.run.recorder import Recorder
from chord.run.resuming import resume_run
from chord.run.training import train
from chord.step.module import ChordModule

COMMON = ["steps=5", "trainer.checkpoint_every=2", "evaluation.every=2", "weighting=phi", SIGNAL]


class Killed(BaseException):
    """What a kill looks like from within: nothing after it runs, not even `except Exception`."""


def start(models: Path, path: Path, *overrides: str) -> None:
    composed = small_composed(models, *COMMON, *overrides)
    train(parse(composed, TrainConfig), RunDirectory(path, composed, "test", list(overrides)))


@pytest.fixture(scope="module")
def ended(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`ended("schedule=linear")`: a run that nothing stopped, one for all tests."""

    @functools.cache
    def path(*overrides: str) -> Path:
        run = tmp_path_factory.mktemp("ended") / "run"
        start(small_models, run, *overrides)
        return run

    return path


@pytest.fixture
def finished(ended: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`finished("whole", "schedule=linear")`: a copy of such a run, at `tmp_path / "whole"`."""

    def copied(name: str, *overrides: str) -> Path:
        return Path(shutil.copytree(ended(*overrides), tmp_path / name))

    return copied


def resume(path: Path) -> None:
    run = resume_run(path, compose_config(f"resume={path}"), [f"resume={path}"])
    train(parse(run.config, TrainConfig), run)


def die_in(owner: type, name: str, call: int) -> Callable[[pytest.MonkeyPatch], None]:
    """A patch that kills the run at the given call of a method, before or after it did its work."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(owner, name), []

        def wrapped(*args: object, **kwargs: object) -> object:
            calls.append(name)
            if len(calls) == call:
                raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    return patch


MOMENTS = {
    "before the first checkpoint": die_in(ChordModule, "update", 1),
    "in the middle of a step": die_in(ChordModule, "add_gradients", 4),
    "between the update and its rows": die_in(Recorder, "train", 4),
    "in an evaluation": die_in(Recorder, "evaluation", 3),
    "before a checkpoint": die_in(Checkpointing, "save", 2),
    "after the last step": die_in(ChordModule, "set_learning_rates", 5),
}


def start_and_die(moment: str, models: Path, path: Path, *overrides: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        MOMENTS[moment](monkeypatch)
        with pytest.raises(Killed):
            start(models, path, *overrides)
