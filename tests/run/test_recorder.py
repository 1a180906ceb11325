"""The run directory's rows: exact, append-only, and the same after a kill and a resume."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from chord.io.writing import whole_directory
from chord.run.files import COMPLETIONS, EVALUATIONS, METRICS, TIMINGS, read_rows
from chord.run.recorder import Recorder, plain

FILES = (METRICS, TIMINGS, EVALUATIONS, COMPLETIONS)


def run(recorder: Recorder, first: int, last: int) -> None:
    """Train steps first..last-1 of a run that evaluates every 3 steps, before each such step."""
    for step in range(first, last):
        if step % 3 == 0:
            row = {"split": "val", "model": "trained", "val/target_accuracy": step / 7}
            recorder.evaluation(step, row)
        recorder.train(step, {"alpha": 1 - step / 10, "loss/sft": 1 / 3}, {"seconds/step": 0.5})
        recorder.completions(step, [{"problem": "1+1", "response": "2"}] if step % 2 else [])


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in FILES if (path / name).exists()}


def test_a_row_is_one_json_line_with_its_step_first(tmp_path: Path) -> None:
    Recorder(tmp_path).train(0, {"alpha": 0.1, "tokens/sft": 12})
    assert (tmp_path / METRICS).read_text() == '{"step": 0, "alpha": 0.1, "tokens/sft": 12}\n'
    assert not (tmp_path / TIMINGS).exists()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e16 + 2])
def test_a_float_reads_back_exactly(tmp_path: Path, value: float) -> None:
    Recorder(tmp_path).train(0, {"x": value})
    (row,) = read_rows(tmp_path / METRICS)
    assert row["x"].hex() == value.hex()


def test_a_number_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    Recorder(tmp_path).train(0, {"a": float("nan"), "b": float("inf"), "c": float("-inf")})
    assert (tmp_path / METRICS).read_text() == '{"step": 0, "a": null, "b": null, "c": null}\n'


def test_numbers_of_torch_and_numpy_become_plain_ones() -> None:
    # 0.1 in float32 is 13421773 / 2^27 = 0.100000001490116...
    values = {"t": torch.tensor(0.1), "n": np.float64(0.25), "i": np.int64(3), "l": (1, [2.5])}
    assert plain(values) == {"t": 13421773 / 2**27, "n": 0.25, "i": 3, "l": [1, [2.5]]}
    assert type(plain(np.float64(0.25))) is float


def test_a_resumed_run_leaves_the_files_of_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    run(Recorder(whole), 0, 10)
    for killed in range(11):
        for checkpoint in range(killed + 1):
            path = tmp_path / f"{killed}-{checkpoint}"
            path.mkdir()
            run(Recorder(path), 0, killed)
            again = Recorder(path)
            again.truncate(checkpoint)
            run(again, checkpoint, 10)
            assert contents(path) == contents(whole), (killed, checkpoint)


def test_truncating_drops_a_line_that_a_kill_left_half_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    run(recorder, 0, 4)
    before = contents(tmp_path)
    for name in FILES:
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 4, "al')
    assert [row["step"] for row in read_rows(tmp_path / METRICS)] == [0, 1, 2, 3]
    again = Recorder(tmp_path)
    again.truncate(4)
    assert contents(tmp_path) == before


def test_a_broken_line_elsewhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text('{"step": 0}\n[1]\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not a JSON object"):
        read_rows(path)


def test_a_kill_while_truncating_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path)
    run(recorder, 0, 4)
    before = contents(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        recorder.truncate(2)
    assert contents(tmp_path) == before


def test_an_evaluation_on_record_is_not_written_again(tmp_path: Path) -> None:
    row = {"split": "val", "model": "trained", "val/target_accuracy": 0.5}
    Recorder(tmp_path).evaluation(3, row)
    again = Recorder(tmp_path)
    again.evaluation(3, row)
    again.evaluation(3, {**row, "model": "base"})
    again.evaluation(4, row)
    found = [(r["step"], r["model"]) for r in read_rows(tmp_path / EVALUATIONS)]
    assert found == [(3, "trained"), (3, "base"), (4, "trained")]


def test_test_rows_are_forgotten_on_resume_because_they_come_last(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.evaluation(0, {"split": "val", "model": "trained"})
    recorder.evaluation(0, {"split": "test", "model": "base"})
    recorder.evaluation(2, {"split": "test", "model": "trained"})
    recorder.truncate(2)
    assert [row["split"] for row in read_rows(tmp_path / EVALUATIONS)] == ["val"]
    recorder.evaluation(0, {"split": "test", "model": "base"})
    assert len(read_rows(tmp_path / EVALUATIONS)) == 2


def test_history_is_the_order_of_events_with_timings_merged(tmp_path: Path) -> None:
    run(Recorder(tmp_path), 0, 4)
    history = Recorder(tmp_path).history()
    assert [(row["step"], "split" in row) for row in history] == [
        (0, True), (0, False), (1, False), (2, False), (3, True), (3, False),
    ]  # fmt: skip
    expected = {"step": 1, "alpha": 0.9, "loss/sft": 1 / 3, "seconds/step": 0.5}
    assert history[2] == expected


def test_a_directory_without_rows_has_none(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.truncate(0)
    assert recorder.history() == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "model"
    with whole_directory(place) as partial:
        (partial / "old").write_text("1")
    with pytest.raises(FileNotFoundError), whole_directory(place) as partial:
        (partial / "no" / "such" / "place").write_text("3")
    assert [file.name for file in tmp_path.rglob("*")] == ["deep", "model", "old"]
    with whole_directory(place) as partial:
        (partial / "new").write_text("2")
    assert [file.name for file in tmp_path.rglob("*")] == ["deep", "model", "new"]
