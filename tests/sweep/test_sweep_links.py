"""A sweep's directory may be a stranger's: nothing is written or removed through a link in it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compare_runs import write_run
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from sweeps import Command, command

from chord.compare.finding import find_runs
from chord.config.search import SearchConfig
from chord.errors import ConfigError
from chord.io.reading import leads_nowhere
from chord.run.lock import held
from chord.run.owner import LOCK, OWNER, writer
from chord.sweep.directory import read_sweep
from chord.sweep.equal_runs import take_over
from chord.sweep.places import refuse_linked, refuse_linked_jobs
from chord.sweep.points import Point
from chord.sweep.space import Choice, dimension
from chord.sweep.study import Study
from chord.train import refuse_directories

__all__ = ["command"]
pytestmark = pytest.mark.faults


def point(number: int) -> Point:
    return Point(
        number=number, overrides=[], varied={}, directory=str(number), fingerprint=f"f{number}"
    )


def contents(place: Path) -> dict[str, bytes]:
    files = [file for file in place.rglob("*") if file.is_file()]
    return {str(file.relative_to(place)): file.read_bytes() for file in files}


@pytest.mark.slow  # three sweeps
def test_a_sweep_writes_through_no_link_in_its_directory(command: Command) -> None:
    grid = ["-m", "seed=0,1"]
    assert command(*grid, "hydra.sweep.dir=s") == 0
    shutil.copytree(command.where / "s" / "0", command.where / "victim" / "0")
    before = contents(command.where / "victim")
    # The job of another seed.
    shutil.rmtree(command.where / "s" / "1")
    (command.where / "s" / "1").symlink_to("../victim/0")
    assert command(*grid, "resume_sweep=s") == 1
    assert "1 in it is a symbolic link, but not to a finished run" in command.err
    (command.where / "s" / "1").unlink()
    (command.where / "s" / "multirun.yaml").unlink()
    (command.where / "s" / "multirun.yaml").symlink_to("../victim/0/run.json")
    assert command(*grid, "resume_sweep=s") == 1
    assert "multirun.yaml in it is a symbolic link" in command.err
    assert contents(command.where / "victim") == before


def of_chord(place: Path) -> dict[str, bytes]:
    """The files of a job without those that Hydra writes before the job is chord's."""
    of_hydra = (".hydra", "train.log")
    return {name: c for name, c in contents(place).items() if not name.startswith(of_hydra)}


@pytest.mark.parametrize("late", ["link", "link to an equal run", "equal run"])
def test_what_is_in_a_jobs_place_when_it_begins_is_not_written_over(
    command: Command, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    grid, place = ["-m", "steps=1", "seed=0"], command.where / "t" / "0"
    if late == "link":
        place.mkdir(parents=True)
    else:
        assert command(*grid, "hydra.sweep.dir=t") == 0
    before, job = of_chord(place), command.where / "s" / "0"
    instantiate = Plugins.instantiate_launcher

    def come(self: Plugins, **settings: Any) -> Launcher:
        # The sweep has looked at its directory.
        shutil.copytree(place, job) if late == "equal run" else job.symlink_to(place)
        return instantiate(self, **settings)

    monkeypatch.setattr(Plugins, "instantiate_launcher", come)
    # An equal run that has finished is the job.
    assert command(*grid, "hydra.sweep.dir=s") == (1 if late == "link" else 0)
    assert ("0 is a symbolic link" in command.out) == (late == "link")
    assert of_chord(place) == before
    there = of_chord(job)
    assert {name: c for name, c in there.items() if name != LOCK} == {
        name: c for name, c in before.items() if name != LOCK
    }


@pytest.mark.parametrize(
    "name",
    ["multirun.yaml", "sweep.json", "study.db", "wandb", ".submitit", "comparison", ".hydra/1"],
)
def test_a_link_in_a_sweep_is_refused_unless_it_is_a_job(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "victim", status={"status": "finished", "fingerprint": "f1"})
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "1").symlink_to(tmp_path / "victim")
    refuse_linked(sweep, "resume_sweep")
    refuse_linked_jobs(sweep, [point(0), point(1)], "resume_sweep")
    leads = tmp_path / ("victim" if name in ("wandb", ".submitit") else "file")
    (sweep / name).parent.mkdir(exist_ok=True)
    (sweep / name).symlink_to(leads)
    with pytest.raises(ConfigError, match=rf"^resume_sweep=.*: {name} in it is a symbolic link"):
        refuse_linked(sweep, "resume_sweep")


@pytest.mark.parametrize(
    "facts", [{"status": "failed", "fingerprint": "f1"}, {"status": "finished"}, {}, None]
)
def test_a_job_that_is_a_link_is_an_equal_run_that_has_finished(
    tmp_path: Path, facts: dict[str, str] | None
) -> None:
    (tmp_path / "sweep").mkdir()
    if facts is not None:
        write_run(tmp_path / "victim", status=facts)
    (tmp_path / "sweep" / "1").symlink_to(tmp_path / "victim")
    said = "but not to a finished run" if facts is not None else "which is not there"
    with pytest.raises(ConfigError, match=f"1 in it is a symbolic link.* {said}"):
        refuse_linked_jobs(tmp_path / "sweep", [point(1)], "resume_sweep")


def test_a_moved_sweep_says_which_run_its_link_no_longer_finds(tmp_path: Path) -> None:
    write_run(tmp_path / "outputs/one", status={"status": "finished", "fingerprint": "f0"})
    take_over(tmp_path / "outputs/s/0", tmp_path / "outputs/one")
    refuse_linked_jobs(tmp_path / "outputs/s", [point(0)], "hydra.sweep.dir")
    sweep = tmp_path / "kept/2026/s"
    sweep.parent.mkdir(parents=True)
    (tmp_path / "outputs/s").rename(sweep)
    said = f": 0 in it is a symbolic link to {tmp_path}/kept/2026/one, which is not there; "
    for refuse in (refuse_linked, lambda *rest: refuse_linked_jobs(rest[0], [point(0)], rest[1])):
        with pytest.raises(ConfigError) as refused:
            refuse(sweep, "hydra.sweep.dir")
        assert said in str(refused.value)
    (sweep / "sweep.json").write_text('{"jobs": [{"directory": "0", "overrides": []}]}')
    write_run(sweep / "1")
    (missing,) = find_runs([sweep]).missing
    assert missing.reason == leads_nowhere(sweep / "0")
    # What it says to do is enough.
    (tmp_path / "outputs/one").rename(tmp_path / "kept/2026/one")
    refuse_linked_jobs(sweep, [point(0)], "hydra.sweep.dir")


def test_a_job_below_a_link_or_with_links_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "victim" / "1").mkdir(parents=True)
    (tmp_path / "sweep" / "lr").symlink_to(tmp_path / "victim")
    below = replace(point(1), directory="lr/1")
    with pytest.raises(ConfigError, match="lr in it is a symbolic link"):
        refuse_linked_jobs(tmp_path / "sweep", [below], "resume_sweep")
    (tmp_path / "sweep" / "lr").unlink()
    (tmp_path / "sweep" / "lr" / "1").mkdir(parents=True)
    refuse_linked_jobs(tmp_path / "sweep", [below], "resume_sweep")
    (tmp_path / "sweep" / "lr" / "1" / "metrics.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"lr/1: metrics\.jsonl in it is a symbolic link"):
        refuse_linked_jobs(tmp_path / "sweep", [below], "resume_sweep")


def test_a_run_of_a_sweep_removes_nothing_through_the_record_that_it_shares(
    tmp_path: Path,
) -> None:
    run = tmp_path / "sweep" / "0"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    refuse_directories([f"resume={run}"])
    (tmp_path / "sweep" / "wandb").symlink_to(tmp_path)
    refuse_directories([f"resume={run}"])  # a run by itself has its own
    (tmp_path / "sweep" / "multirun.yaml").touch()
    with pytest.raises(ConfigError, match=r"^resume=.*/wandb, which the jobs .* is a symbolic"):
        refuse_directories([f"resume={run}"])
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "metrics.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"^hydra\.run\.dir=.*: metrics\.jsonl in it is a"):
        refuse_directories([f"hydra.run.dir={tmp_path / 'new'}"])


def test_a_lock_is_a_regular_file_of_the_directory_itself(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / LOCK
    for make in (lambda: lock.symlink_to(mine), lambda: os.mkfifo(lock), lock.mkdir):
        make()
        with pytest.raises(ConfigError, match=rf"^resume=.*: \{LOCK} in it is not a regular file"):
            held(tmp_path / "run", "resume").__enter__()
        assert writer(tmp_path / "run") is None
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", *(json.dumps({"pid": p, "host": "h", "since": "s"}) for p in ("a", -1))],
    ids=range(4),
)
def test_what_is_no_owner_of_a_directory_is_said_to_be_another_process(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / OWNER).write_text(text)
    assert writer(tmp_path) == "another process"
    (tmp_path / OWNER).unlink()
    os.mkfifo(tmp_path / OWNER)
    assert writer(tmp_path) == "another process"


@pytest.mark.parametrize(
    "facts",
    [
        {"command": [1]},
        {"command": 1},
        {"jobs": [{"overrides": 3}]},
        {"jobs": [{"varied": {"a": 1}}]},
        {"jobs": [{"varied": []}]},
        {"jobs": [{"job": "0"}]},
        {"jobs": [{"directory": 0}]},
        {"jobs": [0]},
        {"jobs": {}, "command": [None]},
    ],
    ids=range(9),
)
def test_a_sweep_that_none_has_written_is_refused_in_a_sentence(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    job = {"job": 0, "directory": "0", "varied": {}, "fingerprint": "f", "overrides": []}
    whole = {"command": [], "jobs": [job]} | facts
    if isinstance(whole["jobs"], list):
        whole["jobs"] = [job | each if isinstance(each, dict) else each for each in whole["jobs"]]
    (tmp_path / "sweep.json").write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match=r"^resume_sweep=.*sweep\.json can't be read"):
        read_sweep(tmp_path)


def test_a_range_of_a_search_is_counted_and_not_unrolled() -> None:
    assert dimension("steps=range(1,11)") == Choice(tuple(map(str, range(1, 11))))
    for text in ("range(1,1000000000)", "range(0,1,1e-9)", "range(9e9)", "range(0,-1e9,-1)"):
        with pytest.raises(ConfigError, match="has more than 1000 values"):
            dimension(f"steps={text}")


def test_a_study_of_garbage_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "study.db").write_bytes(b"garbage" * 1000)
    jobs = SimpleNamespace(directory=tmp_path)
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage=.*study\.db: can't be used"):
        Study(jobs, SearchConfig(), [], lambda *_: True)  # type: ignore[arg-type]
