"""A new run writes over no file of somebody else's in its directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeps import Command, command, undisturbed

from chord.errors import ConfigError
from chord.run.foreign import FILES, refuse_foreign

__all__ = ["command"]

KEPT = {"run.json", ".lock", "train.log", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
"""What a run adds to, or knows its directory by, or what only Hydra writes."""


def test_a_file_that_a_run_would_write_over_is_refused(command: Command, tmp_path: Path) -> None:
    run = undisturbed(command)
    written = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file()}
    assert {*FILES} >= {name for name in written - KEPT if not name.startswith("wandb")}
    for name in FILES:
        directory = tmp_path / "new" / name.replace("/", "_")
        mine = directory / name
        mine.parent.mkdir(parents=True)
        mine.write_text("mine: 1")
        with pytest.raises(ConfigError) as refused:
            refuse_foreign(directory, "x:")
        assert str(refused.value).startswith(f"x: {name} in it is not a run's and would be")
        (directory / "notes.txt").touch()
        mine.unlink()
        refuse_foreign(directory, "x:")


def test_what_a_run_leaves_that_stopped_before_it_began_is_its_own(
    command: Command, tmp_path: Path
) -> None:
    run = undisturbed(command)
    for name in ("config.yaml", ".hydra/config.yaml", "status.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((run / name).read_bytes())
    refuse_foreign(tmp_path, "x:")


def test_a_configuration_that_a_kill_has_left_empty_is_a_runs(tmp_path: Path) -> None:
    for name in ("config.yaml", ".hydra/config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    refuse_foreign(tmp_path, "x:")
    # What a link points to is not the run's, even if it is empty.
    (tmp_path / "config.yaml").rename(tmp_path / "elsewhere")
    (tmp_path / "config.yaml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"x: config\.yaml in it is not a run's"):
        refuse_foreign(tmp_path, "x:")


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_the_command_refuses_it_and_changes_nothing(command: Command, kind: str) -> None:
    mine = command.where / "x" / ("config.yaml" if kind == "run" else "0/status.json")
    mine.parent.mkdir(parents=True)
    mine.write_text(json.dumps({"status": "mine"}))
    words = ["-m", "seed=0"] if kind == "sweep" else []
    assert command(*words, f"hydra.{kind}.dir=x") == 1
    name = "config.yaml" if kind == "run" else "status.json"
    place = "x:" if kind == "run" else "x: 0:"
    line = f"error: hydra.{kind}.dir={place} {name} in it is not a run's and would be written over"
    assert command.err.startswith(line), command.err
    assert [path for path in command.where.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == json.dumps({"status": "mine"})
