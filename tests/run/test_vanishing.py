"""Files that somebody else takes away while they are written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from holding import elsewhere, kill
from sweeps import Command, command

from chord.config.messages import one_line
from chord.io.writing import VanishedError, remove_partials, whole_directory, whole_file
from chord.run.files import read_rows
from chord.run.owner import LOCK

__all__ = ["command"]

pytestmark = pytest.mark.faults


def test_what_somebody_else_takes_away_while_it_is_written_is_said_to_have_vanished(
    tmp_path: Path,
) -> None:
    def file() -> None:
        with whole_file(tmp_path / "x") as partial:
            partial.touch()
            # As a second process does that begins to work in the same directory.
            remove_partials(tmp_path)

    def directory() -> None:
        with whole_directory(tmp_path / "x") as partial:
            remove_partials(tmp_path)
            (partial / "weights").touch()

    def empty() -> None:
        with whole_directory(tmp_path / "x"):
            remove_partials(tmp_path)

    def moved_and_back() -> None:
        with whole_file(tmp_path / "run" / "x") as partial:
            (tmp_path / "run").rename(tmp_path / "away")
            try:
                partial.touch()
            finally:
                (tmp_path / "away").rename(tmp_path / "run")

    for write, path in {file: "x", directory: "x", empty: "x", moved_and_back: "run/x"}.items():
        with pytest.raises(VanishedError) as error:
            write()
        assert one_line(error.value) == (
            f"{tmp_path / path}: vanished, unfinished, while it was written: its directory was "
            "moved, or another process works in it"
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


@pytest.mark.parametrize("joined", [False, True], ids=["by nobody known", "by a second process"])
def test_a_checkpoint_that_vanishes_while_it_is_written_is_named_with_what_is_kept(
    command: Command, monkeypatch: pytest.MonkeyPatch, joined: bool
) -> None:
    path = command.where / "r"
    others: list[subprocess.Popen[str]] = []
    place = path / "checkpoints"
    original = os.fsync

    def taken_away(handle: int) -> None:
        original(handle)
        if not list(place.glob(".last.ckpt*")) or not (place / "last.ckpt").exists():
            return  # another file, or the first checkpoint
        if joined:
            (path / LOCK).unlink()
            others.append(elsewhere(path))
        # As a process does that resumes the run, or as it is in a directory that was moved.
        remove_partials(place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", taken_away)
        assert command("steps=5", "trainer.checkpoint_every=2", "hydra.run.dir=r") == 1
    who = f"process {others[0].pid} on " if joined else "its directory was moved, or another proc"
    said = f"error: {place}/last.ckpt: vanished, unfinished, while it was written: {who}"
    assert said in command.err
    assert "; the checkpoint after step 2 is kept, and resume=" in command.err
    for other in others:
        kill(other)
    assert command("resume=r", own=False) == 0
    assert [row["step"] for row in read_rows(path / "metrics.jsonl")] == [*range(5)]
