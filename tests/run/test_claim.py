"""A run that can't be what its settings ask for leaves no directory behind."""

from __future__ import annotations

import pytest
from sweeps import Command, command

__all__ = ["command"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["steps=-1"], "steps=-1: must be at least 1"),
        (["schedule.peak=2"], "schedule.peak=2.0: must be within [0, 1]"),
        (["allow_changed=[x]"], "allow_changed=[x]: is only for a resumed run"),
        (["skip_finished=true"], "skip_finished=True: is for a sweep"),
        (["hparams_search=alpha_optuna"], "hparams_search: a search is a sweep; give -m"),
        (["rollout.prefix_samples=3"], "rollout.prefix_samples=3: "),
    ],
)
def test_settings_are_checked_before_anything_is_written(
    command: Command, typed: list[str], line: str
) -> None:
    before = sorted(command.where.iterdir())
    assert command(*typed) == 1
    assert command.err.startswith(f"error: {line}"), command.err
    assert sorted(command.where.iterdir()) == before


@pytest.mark.parametrize("where", [["hydra.run.dir=runs/a"], []])
def test_a_run_that_does_not_find_its_files_leaves_no_directory(
    command: Command, where: list[str]
) -> None:
    assert command("model.path=nothing.safetensors", *where) == 1
    assert command.err.startswith("error: ")
    assert list(command.where.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        ["--help"],
        ["--nope"],
        ["--cfg", "job"],
        ["-m", "seed=0,1", "steps=-1"],
        ["-m", "model.path=nothing.safetensors,other.safetensors"],
        ["-m", "weighting=uniform,phi", "weighting.nope=1"],
        ["-m", "hydra.sweeper.trials=2", "steps=1"],
        ["-m", "hydra.sweep.dir=a/b", "sweep_metric=val/x"],
    ],
)
def test_a_command_that_runs_nothing_leaves_nothing(command: Command, typed: list[str]) -> None:
    command(*typed)
    assert list(command.where.iterdir()) == []


def test_a_directory_that_was_there_stays(command: Command) -> None:
    kept = command.where / "a" / "notes.txt"
    kept.parent.mkdir()
    kept.touch()
    assert command("model.path=nothing.safetensors", "hydra.run.dir=a") == 1
    assert kept.exists()
