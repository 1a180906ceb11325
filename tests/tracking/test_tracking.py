"""Trackers: what they keep, and the names by which runs, paths and programs are shown."""

from __future__ import annotations

import math
import random
import string
import sys
from pathlib import Path
from typing import Any

import pytest

from chord.run.recorder import Recorder
from chord.tracking import CsvTracking, NoTracking, Tracker, WandbTracking, new_run_id, open_tracker
from chord.tracking.base import command, numbers, shown

VAL = {"split": "val", "model": "trained", "val/target_accuracy": 0.5}


def test_the_options_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match=r"tracking\.mode=offlin: must be one of auto, online, of"):
        WandbTracking(mode="offlin")
    with pytest.raises(ValueError, match=r"tracking\.project='': must not be empty"):
        WandbTracking(project="")


def test_only_numbers_are_tracked_and_null_is_nan() -> None:
    kept = numbers({"step": 3, "split": "val", "a": 1, "b": 0.5, "c": None, "d": [1]})
    assert list(kept) == ["a", "b", "c"]
    assert kept["a"] == 1
    assert math.isnan(kept["c"])


def test_test_rows_go_to_the_summary_and_the_base_keeps_its_own_names() -> None:
    class Kept(Tracker):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.final: dict[str, Any] = {}

        def log(self, step: int, row: Any) -> None:
            self.steps.append(step)

        def summary(self, values: Any) -> None:
            self.final |= values

    tracker = Kept()
    tracker.replay(
        [
            {"step": 0, "alpha": 1.0},
            {"step": 1, **VAL},
            {"step": 0, "split": "test", "model": "base", "test/target_accuracy": 0.25},
            {"step": 1, "split": "test", "model": "trained", "test/target_accuracy": 0.5},
        ]
    )
    assert tracker.steps == [0, 1]
    assert tracker.final == {"base/test/target_accuracy": 0.25, "test/target_accuracy": 0.5}


def test_off_writes_nothing_and_says_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(NoTracking(), tmp_path, config={}, run_name="x")
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    assert tracker.messages() == []
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_line_for_each_step_after_every_row(tmp_path: Path) -> None:
    tracker = open_tracker(CsvTracking(), tmp_path, config={}, run_name="x")
    path = tmp_path / "metrics.csv"
    assert path.read_text() == "step\n"
    tracker.evaluation(0, VAL)
    tracker.log(0, {"alpha": 1.0, "loss/sft": 0.25})
    assert path.read_text() == "step,val/target_accuracy,alpha,loss/sft\n0,0.5,1.0,0.25\n"
    tracker.log(1, {"alpha": 0.5, "loss/sft": None})
    tracker.log(2, {"alpha": 0.0, "loss/rl": -0.125})  # a new column, and a skipped branch
    tracker.evaluation(2, VAL)
    assert path.read_text() == (
        "step,val/target_accuracy,alpha,loss/sft,loss/rl\n"
        "0,0.5,1.0,0.25,\n"
        "1,,0.5,nan,\n"
        "2,0.5,0.0,,-0.125\n"
    )
    tracker.summary({"test/target_accuracy": 0.5})
    assert (tmp_path / "summary.csv").read_text() == "key,value\ntest/target_accuracy,0.5\n"


@pytest.mark.faults
def test_a_resumed_csv_equals_that_of_the_uninterrupted_run(tmp_path: Path) -> None:
    def run(path: Path, first: int, last: int) -> None:
        path.mkdir(exist_ok=True)
        recorder = Recorder(path)
        recorder.truncate(first)
        rows = recorder.history()
        tracker = open_tracker(CsvTracking(), path, config={}, run_name="x", resume_rows=rows)
        for step in range(first, last):
            if step % 3 == 0:
                recorder.evaluation(step, VAL)
                tracker.evaluation(step, VAL)
            row = {"alpha": 1 / (step + 1)} | ({"loss/rl": 0.1} if step > 4 else {})
            recorder.train(step, row)
            tracker.log(step, row)

    run(tmp_path / "whole", 0, 9)
    run(tmp_path / "killed", 0, 7)
    run(tmp_path / "killed", 4, 9)
    whole, resumed = ((tmp_path / name / "metrics.csv") for name in ("whole", "killed"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_run_ids_leave_the_seeded_generators_alone() -> None:
    state = random.getstate()
    first, second = new_run_id(), new_run_id()
    assert first != second
    assert set(first) <= set(string.ascii_lowercase + string.digits)
    assert len(first) == 8
    assert random.getstate() == state


def test_paths_and_programs_are_shown_as_one_would_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a run") == "'a run'"
    assert shown(Path("/elsewhere")) == "/elsewhere"
    program = tmp_path / "bin" / "wandb"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("wandb") == "bin/wandb"
    monkeypatch.setenv("PATH", str(program.parent))
    assert command("wandb") == "wandb"
