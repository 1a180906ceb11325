"""A run and a sweep have one writer, and notice what somebody else does to their files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from holding import US, elsewhere, kill, let_go, let_go_now
from hydra import compose
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from sweeps import Command, command, small
from trusting import begun

from chord.compare.finding import find_runs
from chord.config.composing import reading_conf
from chord.errors import ConfigError
from chord.pretrain.command import main as pretrain
from chord.run.claim import ClaimDirectory
from chord.run.directory import RunDirectory
from chord.run.files import read_rows
from chord.run.lock import Hold, held
from chord.run.owner import LOCK
from chord.run.places import refuse_a_second_run
from chord.run.recorder import Recorder
from chord.sweep.directory import write_sweep

__all__ = ["command", "let_go"]

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_commands_of_one_second_have_directories_of_their_own(
    command: Command, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    taken: list[str] = []

    def train(config: object, run: RunDirectory, *more: object) -> None:
        taken.append(os.path.relpath(run.path, command.where))
        with pytest.raises(ConfigError, match=US):
            Hold(run.path, "x")

    class Noon(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Noon:
            return cls(2026, 1, 31, 12)

    # All of them are started at noon.
    monkeypatch.setattr("hydra.core.utils.datetime", Noon)
    monkeypatch.setattr("chord.run.training.train", train)
    monkeypatch.setattr("chord.run.training.train_unrecorded", train)
    for _ in range(2):
        assert command(*(["-m", "seed=0"] if kind == "sweep" else [])) in (0, 1)
    names = [f"2026-01-31/12-00-00{end}" for end in ("", "-2")]
    if kind == "sweep":
        names = [f"{name}_sweep/0" for name in names]
    assert taken == [f"outputs/{name}" for name in names]


def test_a_live_run_is_neither_resumed_nor_written_over(command: Command) -> None:
    assert command("steps=1", "hydra.run.dir=r") == 0
    contents = {p: p.read_bytes() for p in (command.where / "r").rglob("*") if p.is_file()}
    (command.where / "new").mkdir()
    live = [elsewhere(command.where / name) for name in ("r", "new")]
    try:
        assert command("resume=r", "steps=2", own=False) == 1
        assert command.err.startswith(f"error: resume=r: is in use by process {live[0].pid} on ")
        assert command.err.count("\n") == 1
        assert command("steps=1", "hydra.run.dir=new") == 1
        assert command.err.startswith(
            f"error: hydra.run.dir=new: is in use by process {live[1].pid}"
        )
        contents.pop(command.where / "r" / LOCK)
        for path, content in contents.items():
            assert path.read_bytes() == content
        assert [path.name for path in (command.where / "new").iterdir()] == [LOCK]
    finally:
        for process in live:
            kill(process)
    assert command("resume=r", "steps=2", own=False) == 0


def test_a_job_that_resumes_a_live_run_is_refused(command: Command) -> None:
    assert command("steps=1", "hydra.run.dir=r") == 0
    live = elsewhere(command.where / "r")
    try:
        assert command("-m", "resume=r", "steps=2", "hydra.sweep.dir=s", own=False) == 1
        assert command.out.count(f"resume=r: is in use by process {live.pid}") == 1
    finally:
        kill(live)
    assert [row["step"] for row in read_rows(command.where / "r" / "metrics.jsonl")] == [0]


def test_a_sweep_whose_jobs_outlive_it_is_not_resumed_beside_them(command: Command) -> None:
    grid = ["-m", "steps=1", "seed=0,1"]
    assert command(*grid, "hydra.sweep.dir=s") == 0
    status = command.where / "s" / "1" / "status.json"
    status.write_text(status.read_text().replace("finished", "running"))
    before = status.read_bytes()
    live = elsewhere(command.where / "s" / "1")
    try:
        assert command(*grid, "resume_sweep=s") == 1
        assert command.err.startswith(
            f"error: resume_sweep=s: job 1 is still running in process {live.pid} on "
        )
        assert command.err.count("\n") == 1
        assert status.read_bytes() == before
    finally:
        kill(live)
    assert command(*grid, "resume_sweep=s") == 0


@pytest.mark.parametrize("how", ["before it is launched", "before its status is written"])
def test_a_job_that_another_process_finishes_stays_finished(
    command: Command, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    grid = ["-m", "steps=1", "seed=0"]
    assert command(*grid, "hydra.sweep.dir=s") == 0
    status = command.where / "s" / "0" / "status.json"
    true = status.read_text()
    status.write_text(true.replace("finished", "running"))
    instantiate = Plugins.instantiate_launcher

    def dying(self: Plugins, **settings: Any) -> Launcher:
        launcher = instantiate(self, **settings)
        monkeypatch.setattr(launcher, "launch", lambda *_: [])
        if how == "before it is launched":
            status.write_text(true)
        return launcher

    @contextmanager
    def at_last(directory: Path, setting: str) -> Iterator[None]:
        with held(directory, setting):
            status.write_text(true)
            yield

    monkeypatch.setattr(Plugins, "instantiate_launcher", dying)
    if how == "before its status is written":
        monkeypatch.setattr("chord.sweep.jobs.held", at_last)
    assert command(*grid, "resume_sweep=s") == 0
    assert status.read_text() == true
    assert command.rows()[0][1] == "finished"
    assert "died" not in command.out


def test_a_job_whose_directory_is_in_use_says_so(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another has claimed it once the sweep has looked.
    monkeypatch.setattr("chord.sweep.opening.refuse_neighbours", lambda *_: None)
    (command.where / "s" / "0").mkdir(parents=True)
    live = elsewhere(command.where / "s" / "0")
    try:
        assert command("-m", "steps=1", "seed=0", "hydra.sweep.dir=s") == 1
        # The table may break lines.
        assert f"is in use by process {live.pid} on " in " ".join(command.out.split())
        assert "its process died" not in command.out
    finally:
        kill(live)


def test_two_pretrainings_share_no_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(tmp_path / "work", "x"), pytest.raises(SystemExit, match="1"):
        pretrain(["--micro", f"--work={tmp_path}/work", f"--to={tmp_path}"])
    assert capsys.readouterr().err.startswith(f"error: --work {tmp_path}/work: is in use by {US}")


@pytest.mark.parametrize("change", ["removed", "written", "removed after the last", "edited"])
def test_rows_that_somebody_else_takes_or_adds_stop_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    original = Recorder.train
    metrics = command.where / "r" / "metrics.jsonl"

    def train(self: Recorder, at: int, *rest: object) -> None:
        last = change == "removed after the last"
        if last:
            original(self, at, *rest)  # type: ignore[arg-type]
        if at == (4 if last else 3):
            metrics.rename(command.where / "kept")
        if at == 3 and change == "edited":
            # The size is the same, and so may the time be on a coarse clock.
            kept = (command.where / "kept").read_bytes()
            metrics.write_bytes(kept.replace(b'"step": 1', b'"step": 7'))
        if at == 3 and change == "written":
            metrics.write_bytes((command.where / "kept").read_bytes() * 2)
        if not last:
            original(self, at, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "train", train)
        assert command("steps=5", "trainer.checkpoint_every=2", "hydra.run.dir=r") == 1
    error = f"{metrics}: was removed or changed while the run was writing it; "
    assert f"error: {error}" in command.err
    assert command.status("r")["status"] == "failed"
    assert str(command.status("r")["error"]).startswith(error)
    metrics.unlink(missing_ok=True)
    assert command("resume=r", own=False) == 0
    # The last checkpoint was that after 2 steps of 5, or that after all.
    taken = 5 if change == "removed after the last" else 2
    lacks = f"lacks {taken} of {taken} steps: 0, 1"
    assert f"warning: resume=r: metrics.jsonl {lacks}" in command.err
    assert [row["step"] for row in read_rows(metrics)] == [*range(taken, 5)]


@pytest.mark.parametrize("at", [3, 4])
def test_a_directory_that_has_gone_is_not_made_anew(
    command: Command, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    path, moved = command.where / "r", command.where / "moved"
    original = Recorder.train

    def train(self: Recorder, step: int, *rest: object) -> None:
        original(self, step, *rest)  # type: ignore[arg-type]
        if step == at:
            path.rename(moved)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "train", train)
        assert command("steps=5", "trainer.checkpoint_every=2", "hydra.run.dir=r") == 1
    assert command.err == f"error: {path}: was moved or removed while the run was writing into it\n"
    assert not path.exists()
    assert command("resume=moved", own=False) == 0
    assert [row["step"] for row in read_rows(moved / "metrics.jsonl")] == [*range(5)]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints"])
def test_a_link_that_is_put_into_a_live_run_is_not_written_through(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place, kept = command.where / "r" / name, command.where / "kept"
    before: list[list[bytes]] = []
    original = Recorder.train

    def there() -> list[bytes]:
        return [file.read_bytes() for file in (kept, kept / "last.ckpt") if file.is_file()]

    def train(self: Recorder, at: int, *rest: object) -> None:
        if at == 3:
            place.rename(kept)
            place.symlink_to(kept)
            before.append(
                b"".join(f.read_bytes() for f in (kept, kept / "last.ckpt") if f.is_file())
            )
        original(self, at, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "train", train)
        assert command("steps=5", "trainer.checkpoint_every=2", "hydra.run.dir=r") == 1
    assert f"error: {place}: was removed or changed while the run was writing it" in command.err
    assert there() == before
    assert command("resume=r", own=False) == 1
    assert f"error: resume=r: {name} in it is a symbolic link" in command.err
    place.unlink()
    kept.rename(place)
    assert command("resume=r", own=False) == 0


@pytest.mark.slow
def test_processes_started_at_once_share_no_directory(small_models: Path, tmp_path: Path) -> None:
    def started(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "chord.train", *words],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    runs = [started(*small(small_models), "steps=3") for _ in range(3)]
    said = {run.pid: run.communicate()[1] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0], said
    directories = list((tmp_path / "outputs").glob("*/*"))
    assert len(directories) == 3
    for directory in directories:
        assert [row["step"] for row in read_rows(directory / "metrics.jsonl")] == [0, 1, 2]
    # Of two that go on with one of them, one does.
    again = [started(f"resume={directories[0]}", "steps=40") for _ in range(2)]
    said = {process.pid: process.communicate()[1] for process in again}
    codes = {process.returncode: process.pid for process in again}
    assert set(codes) == {0, 1}
    assert f"resume={directories[0]}: is in use by process {codes[0]} on " in said[codes[1]]
    assert [row["step"] for row in read_rows(directories[0] / "metrics.jsonl")] == [*range(40)]


def test_of_several_processes_the_first_alone_claims_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["trainer=ddp", "trainer.accelerator=cpu", "hydra.run.dir=r"]
    for rank in ("1", "0"):
        # SLURM's number alone: other processes of it may have nothing to do with this run.
        monkeypatch.setenv("SLURM_PROCID", rank)
        with reading_conf():
            config = compose("train", words, return_hydra_config=True)
        ClaimDirectory().on_run_start(config=config)
        assert config.hydra.run.dir == ("." if rank == "1" else "r")
        assert (config.hydra.output_subdir is None) == (rank == "1")
        assert ("file" in config.hydra.job_logging.root.handlers) == (rank == "0")
        assert [path.name for path in tmp_path.iterdir()] == ([] if rank == "1" else ["r"])


def test_a_directory_that_has_got_a_run_meanwhile_is_not_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with reading_conf():
        config = compose("train", ["hydra.run.dir=r"], return_hydra_config=True)
    RunDirectory(Path("r"), compose_config(), "r").write()
    with pytest.raises(SystemExit):
        ClaimDirectory().on_run_start(config=config)
    assert capsys.readouterr().err.startswith("error: hydra.run.dir=r: already holds a run; ")


@pytest.mark.parametrize("number", ["RANK", "SLURM_PROCID"])
def test_who_leads_a_resumed_run_is_asked_of_its_own_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for run, trainer in (("both", "ddp"), ("alone", "cpu")):
        with reading_conf():
            config = compose("train", [f"trainer={trainer}", "trainer.accelerator=cpu"])
        begun(RunDirectory(Path(run), config, run))

    def claims(*words: str) -> bool:
        with reading_conf():
            config = compose("train", list(words), return_hydra_config=True)
        ClaimDirectory().on_run_start(config=config)
        # No lock is made by a process that writes nothing.
        lock_file = Path(words[0].removeprefix("resume=")) / LOCK
        claimed = lock_file.exists()
        let_go_now()
        lock_file.unlink(missing_ok=True)
        return claimed

    monkeypatch.setenv(number, "1")
    # The run's own trainer, or what is typed over it; never that of a command without one.
    assert not claims("resume=both")
    assert claims("resume=alone")
    assert claims("resume=both", "trainer=cpu")
    assert claims("resume=both", "trainer.devices=1", "trainer.strategy=auto")
    assert not claims("resume=alone", "trainer=ddp")
    assert not claims("resume=alone", "trainer=fsdp")
    monkeypatch.setenv(number, "0")
    assert claims("resume=both")


@pytest.mark.parametrize("place", ["r/sub", "r/checkpoints", "link/a/b", "r/${now:%H}", "."])
def test_no_run_is_placed_inside_another_or_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    RunDirectory(Path("r"), compose_config(), "r").write()
    Path("link").symlink_to("r")
    before = sorted(tmp_path.rglob("*"))
    with reading_conf():
        config = compose("train", [f"hydra.run.dir={place}"], return_hydra_config=True)
    with pytest.raises(SystemExit):
        ClaimDirectory().on_run_start(config=config)
    said = capsys.readouterr().err
    assert said.startswith("error: hydra.run.dir=")
    inner = "r in it is a run directory; give a directory that contains no runs"
    outer = f"lies inside the run directory {tmp_path / 'r'}; give a directory outside it"
    assert (inner if place == "." else outer) in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_beside_the_jobs_of_a_sweep_is_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sweep(Path("s"), [], "m", [])
    RunDirectory(Path("s/0"), compose_config(), "r").write()
    refuse_a_second_run(Path("s/x"))
    RunDirectory(Path("s/x"), compose_config(), "r").write()
    assert find_runs([Path("s")]).runs == [Path("s/0"), Path("s/x")]
