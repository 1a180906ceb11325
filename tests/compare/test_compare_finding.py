"""Which directories are compared: runs, sweeps, the newest of them, and jobs that left nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from compare_runs import write_run, write_sweep

from chord.compare.finding import find_runs
from chord.compare.reading import read_runs
from chord.errors import ConfigError
from chord.io.reading import leads_nowhere
from chord.sweep.directory import write_sweep as write_sweep_file


def test_runs_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", {"linear": [0.1] * 11})
    (sweep / "comparison").mkdir()
    (sweep / "wandb" / "run-1").mkdir(parents=True)
    (sweep / "wandb" / "run-1" / "config.yaml").write_text("")
    found = find_runs([sweep])
    assert [path.name for path in found.runs] == [str(job) for job in range(11)]
    assert (found.title, found.root) == ("a_sweep", sweep)


def test_a_run_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", {"linear": [0.1, 0.2]})
    assert len(find_runs([sweep / "0", sweep, sweep / "1"]).runs) == 2


def test_without_a_path_it_is_the_newest_sweep(tmp_path: Path) -> None:
    old = write_sweep(tmp_path / "day" / "1_sweep", {"linear": [0.1]})
    new = write_sweep(tmp_path / "day" / "2_sweep", {"linear": [0.1]})
    alone = write_run(tmp_path / "day" / "3")
    for age, path in ((300, old / "0"), (200, new / "0"), (100, alone)):
        for file in path.iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    assert find_runs([], tmp_path).root == new


def test_a_sweep_of_links_is_as_new_as_it_says_itself(tmp_path: Path) -> None:
    target = write_sweep(tmp_path / "a_sweep", {"linear": [0.1]})
    links, later = tmp_path / "b_sweep", write_sweep(tmp_path / "c_sweep", {"linear": [0.1]})
    links.mkdir()
    (links / "0").symlink_to(Path("..", target.name, "0"))
    for sweep, written in ((target, "10:00"), (links, "12:00"), (later, "11:00")):
        text = json.dumps({"written": f"2026-01-31T{written}:00+00:00", "jobs": []})
        (sweep / "sweep.json").write_text(text)
    assert find_runs([], tmp_path).root == links
    write_sweep_file(later, ["seed=0"], "val/balance_at_0.5", [])
    assert find_runs([], tmp_path).root == later
    # One of old has the time of its file.
    (links / "sweep.json").write_text('{"jobs": []}')
    os.utime(links / "sweep.json", (1e10, 1e10))
    assert find_runs([], tmp_path).root == links


def test_without_a_sweep_it_is_the_directory_of_the_newest_run(tmp_path: Path) -> None:
    write_run(tmp_path / "day" / "1")
    write_run(tmp_path / "day" / "2")
    assert len(find_runs([], tmp_path).runs) == 2


def test_a_job_that_never_became_a_run_is_said(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", {"linear": [0.1]})
    (sweep / "1" / ".hydra").mkdir(parents=True)
    runs, left_out = read_runs(find_runs([sweep]).runs)
    assert len(runs) == 1
    assert [(e.what, e.reason) for e in left_out] == [(str(sweep / "1"), "it has no run.json")]


def test_a_job_that_is_a_link_to_an_earlier_run_counts(tmp_path: Path) -> None:
    earlier = write_sweep(tmp_path / "a_sweep", {"linear": [0.1]})
    sweep = write_sweep(tmp_path / "b_sweep", {"linear": [0.2]})
    (sweep / "7").symlink_to(Path("..", earlier.name, "0"))
    (sweep / "up").symlink_to("..")  # leads to no run, and round in circles
    assert [run.name for run in find_runs([sweep]).runs] == ["0", "7"]
    assert len(find_runs([earlier, sweep]).runs) == 2


def test_jobs_that_never_started_are_said(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", {"linear": [0.1]})
    # The second job has a directory of another name than its number.
    jobs = [
        {"job": job, "directory": directory, "overrides": [f"seed={job}"]}
        for job, directory in enumerate(["0", "s-1", "s-2"])
    ]
    (sweep / "0").rename(sweep / "s-1")
    (sweep / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    missing = find_runs([sweep]).missing
    reason = "never started, or was moved away"
    lines = [(f"{sweep}/0 (seed=0)", reason), (f"{sweep}/s-2 (seed=2)", reason)]
    assert [(e.what, e.reason) for e in missing] == lines
    (sweep / "sweep.json").write_text("{")
    assert not find_runs([sweep]).missing


def test_a_sweep_that_its_runs_have_left_is_said(tmp_path: Path) -> None:
    sweep = tmp_path / "moved_sweep"
    sweep.mkdir()
    with pytest.raises(ConfigError, match=r"is the directory of a sweep, but contains none of its"):
        find_runs([sweep])
    (sweep / "0").symlink_to("../2026-01-31/12-00-00")
    job = {"directory": "0", "overrides": ["seed=0"]}
    (sweep / "sweep.json").write_text(json.dumps({"jobs": [job]}))
    with pytest.raises(ConfigError) as refused:
        find_runs([sweep])
    text = str(refused.value)
    assert f"(the first of 1: {sweep}/0 (seed=0): {leads_nowhere(sweep / '0')})" in text
    assert text.endswith("or give the directories in which they are now")


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_directory_without_runs_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=name):
        find_runs([tmp_path / name])
    with pytest.raises(ValueError, match=name):
        find_runs([], tmp_path / name)
