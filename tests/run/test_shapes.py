"""A row or a status that no run has written is one sentence for every reader of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from compare_runs import evaluation, metrics, write_lines
from conftest import small_composed
from trusting import begun

from chord.compare.reading import read_run
from chord.doctor.records import unreadable
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.files import (
    COMPLETIONS,
    EVALUATIONS,
    METRICS,
    SAMPLES,
    TIMINGS,
    read_rows,
    read_status,
)
from chord.run.gaps import gaps, reports_lacking
from chord.run.losing import lost
from chord.run.opening import open_run
from chord.run.plots import plot_run
from chord.run.recorder import Recorder
from chord.run.trained import last_alpha

GOOD = {
    METRICS: metrics(1),
    TIMINGS: {"step": 1, "seconds/step": 0.5},
    EVALUATIONS: evaluation(2, "val", "trained", 0.5),
    COMPLETIONS: {"step": 1, "response": "12"},
}
NO_STEPS = [..., None, "1", 1.0, True, -1, [], {}, 10**30]
NO_NAMES = [..., None, ["val"], {}, 1, "train"]
BAD = [
    *((name, "step", value, "has no step") for name in GOOD for value in NO_STEPS),
    *((EVALUATIONS, "split", value, "has no split or model") for value in NO_NAMES),
    *((EVALUATIONS, "model", value, "has no split or model") for value in NO_NAMES),
    *((METRICS, "alpha", value, "alpha is not a number") for value in ("x", [], {})),
    (TIMINGS, "seconds/step", [1], "seconds/step is not a number"),
    (EVALUATIONS, "val/retained/mean", "1", "val/retained/mean is not a number"),
]
READERS: dict[str, Callable[[Path], list[Callable[[], object]]]] = {
    METRICS: lambda path: [
        lambda: Recorder(path).history(),
        lambda: lost(open_run(path), 0),
        lambda: list(gaps(path, open_run(path).config, 2)),
        lambda: plot_run(path),
    ],
    TIMINGS: lambda path: [lambda: Recorder(path).truncate(1)],
    EVALUATIONS: lambda path: [
        lambda: Recorder(path),
        lambda: reports_lacking(path, open_run(path).config),
        lambda: plot_run(path),
    ],
    COMPLETIONS: lambda path: [lambda: Recorder(path).truncate(1)],
}


@pytest.fixture
def run(tmp_path: Path, small_models: Path) -> Path:
    begun(RunDirectory(tmp_path, small_composed(small_models), "run"))
    for name, row in GOOD.items():
        write_lines(tmp_path / name, [{**row, "step": 0}, row])
    return tmp_path


def test_rows_as_runs_write_them_are_read(run: Path) -> None:
    assert list(unreadable(run)) == []
    for name in GOOD:
        assert len(read_rows(run / name)) == 2
    write_lines(run / SAMPLES, [{"split": "test"}])
    assert read_rows(run / SAMPLES) == [{"split": "test"}]
    # A number that is not finite is null.
    write_lines(run / METRICS, [{"step": 0, "alpha": None, "lr": 1}])
    assert read_rows(run / METRICS) == [{"step": 0, "alpha": None, "lr": 1}]


@pytest.mark.parametrize(("name", "key", "value", "said"), BAD)
def test_a_row_of_another_shape_is_named_with_its_line_by_every_reader(
    run: Path, name: str, key: str, value: object, said: str
) -> None:
    row = {**GOOD[name], key: value}
    if value is ...:
        del row[key]
    with (run / name).open("a") as file:
        file.write(json.dumps(row) + "\n")
    line = f"{run / name}, line 3: {said}; take the file from a backup, or delete that line"
    for read in (lambda: read_rows(run / name), *READERS[name](run)):
        with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
            read()
    (found,) = unreadable(run)
    assert f"{found.what}; {found.remedy}" == line
    if said.startswith("has no") and name != COMPLETIONS:
        _, left_out = read_run(run)
        assert f"{said}: left out" in [each.reason for each in left_out]


@pytest.mark.parametrize("line", ["{}", "[]", "3", "null", "x", '"step"'])
def test_a_line_that_is_no_row_is_one_sentence(run: Path, line: str) -> None:
    (run / METRICS).write_text(f"{line}\n")
    with pytest.raises(
        ConfigError, match=r"line 1: (has no step|not a JSON object); take the file"
    ):
        read_rows(run / METRICS)


def test_a_last_row_without_alpha_is_one_sentence(run: Path) -> None:
    write_lines(run / METRICS, [{"step": 0}])
    config = open_run(run).checked()
    config.schedule = type("Needing", (), {"needs": ("reward",)})()
    with pytest.raises(
        ConfigError, match=r"metrics\.jsonl: its last row has no alpha; take it from"
    ):
        last_alpha(run, config)


@pytest.mark.parametrize("value", [None, [], {}, 3, "done", True])
def test_a_status_that_no_run_has_is_as_good_as_none(run: Path, value: object) -> None:
    (run / "status.json").write_text(json.dumps({"status": value, "fingerprint": [], "job": "x"}))
    assert read_status(run) == {}
    (run / "status.json").write_text(json.dumps({"status": "failed", "error": "no room", "job": 3}))
    assert read_status(run) == {"status": "failed", "error": "no room", "job": 3}
