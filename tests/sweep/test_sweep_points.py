"""What a sweep refuses, in one line and before anything is written."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import compose_config
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from language_models import make_model
from omegaconf import OmegaConf
from sweeps import Command, command

from chord.config.composing import reading_conf, register
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.lock import held
from chord.run.status import fingerprint
from chord.sweep import beforehand
from chord.sweep.beforehand import check_beforehand, check_run
from chord.sweep.directory import refuse_another, write_sweep
from chord.sweep.grid import grid
from chord.sweep.launchers import cores, numbered, prepared
from chord.sweep.points import Point, check_points, varying

__all__ = ["command"]
JSONL = ["data=jsonl", "data.problems=none.jsonl", "schedule=rl_only"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["schedule=linear,chord_mu", "schedule.peak=2"], "schedule=linear: schedule.peak=2: no"),
        (["seed=0,-1"], "seed=-1: must be within [0, 4294967294]"),
        (["seed=0,1", "steps=0"], "steps=0: must be at least 1"),
        (["schedule=linear,cosin"], "schedule=cosin: no such option; did you mean 'cosine'?"),
        (["seed=0,1", "resume=x"], "resume=x: "),
        (["seed=0,1", "trainer=ddp"], "trainer.strategy=ddp: starts the command"),
        (["seed=0,1", "trainer=fsdp"], "trainer.strategy=fsdp: starts the command"),
        (["seed=0", "sweep_metric=test/rl_reward"], "sweep_metric=test/rl_reward: choose set"),
        (["seed=0", "sweep_metric=val/reward"], "sweep_metric=val/reward: must be a valida"),
        (["schedule=glob(zzz)", "seed=0,1"], "schedule=glob(zzz): stands for no value"),
        (["seed=0,1", "model.path="], "model.path=: must name a checkpoint"),
        (["schedule.final=interval(0,1)"], "schedule.final=interval(0,1): is an interval to"),
        (["rollout.max_new_tokens=12,9999"], "rollout.max_new_tokens=9999: must be at most"),
        (["seed=0,1", "model.path=none"], "model.path=none: checkpoint none: no such file"),
        (
            ["weighting=phi,adaptive", "teacher.path=none"],
            "weighting=adaptive: teacher.path=none: ",
        ),
        (["seed=0,1", "trainer=gpu"], "trainer.accelerator=gpu: there is no GPU here"),
        (["seed=0,1", *JSONL], "data.problems=none.jsonl: no such file"),
        (["seed=0,1", "target=soft", "target.cache=none"], "target.cache=none: no such file"),
        (["seed=0", "resume_sweep=nothing"], "resume_sweep=nothing: is not a sweep directory"),
    ],
)
def test_no_job_starts_where_one_of_them_cannot_be_run(
    command: Command, typed: list[str], line: str
) -> None:
    if "resume=x" in typed:
        (command.where / "x").mkdir()
        (command.where / "x" / "run.json").write_text("{}")
    command.monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    before = sorted(command.where.rglob("*"))
    assert command("-m", *typed) == 1
    assert command.err.startswith(f"error: {line}")
    assert command.err.count("\n") == 1
    assert sorted(command.where.rglob("*")) == before


def test_more_jobs_than_a_sweep_can_have_are_counted_and_not_made() -> None:
    for typed in (
        ["seed=range(0,1000000000)"],
        ["seed=range(0,1e9,.1)"],
        ["steps=range(1,1001)", "seed=range(0,11)"],
    ):
        with pytest.raises(ConfigError, match=rf"^{re.escape(typed[-1])}: makes more than 10,000"):
            grid(typed, None)
    with pytest.raises(ConfigError, match=r"^range\(0,5,0\): must have a step above 0"):
        grid(["seed=range(0,5,0)"], None)
    assert len(grid(["steps=range(1,11)", "seed=0,1", "schedule=linear"], None)) == 20


def test_what_a_job_takes_from_elsewhere_is_named_where_it_has_changed(tmp_path: Path) -> None:
    def point(fingerprint: str) -> Point:
        return Point(
            number=0, overrides=["seed=${oc.env:S}", "steps=1"], varied={}, directory="0",
            fingerprint=fingerprint,
        )  # fmt: skip

    write_sweep(tmp_path, ["seed=${oc.env:S}", "steps=1"], "val/x", [point("before")])
    said = "because the defaults or the value of seed=${oc.env:S} changed; start a new sweep"
    with pytest.raises(ConfigError, match=re.escape(said)):
        refuse_another(tmp_path, [point("now")])


def test_settings_of_a_sweep_are_refused_without_one(command: Command) -> None:
    assert command("skip_finished=true") == 1
    assert command.err == "error: skip_finished=True: is for a sweep; give -m and what it varies\n"


def test_another_command_cannot_go_on_with_a_sweep(command: Command) -> None:
    assert command("-m", "seed=0,1", "hydra.sweep.dir=s", "steps=1") == 0
    for typed, line in {
        ("seed=0,1,2", "steps=1"): "belongs to another command; it has 2 jobs, not 3: python",
        ("seed=0,2", "steps=1"): "belongs to another command; its job 1 is ",
        ("seed=0,1", "steps=2"): "belongs to another command; its job 0 is ",
    }.items():
        assert command("-m", *typed, "resume_sweep=s") == 1
        assert command.err.startswith(f"error: resume_sweep=s: {line}")
        assert command.err.count("\n") == 1
    assert command("-m", "seed=0,1", "steps=1", "hydra.sweep.dir=s") == 1
    assert command.err.startswith("error: hydra.sweep.dir=s: already holds a sweep")
    # Where it is logged and how it is launched may change; the order of what is typed too.
    assert command("-m", "steps=1", "seed=0,1", "tracking=csv", "resume_sweep=s") == 0
    assert command.out.count("already finished") == 2
    with held(command.where / "s", "x"):
        assert command("-m", "seed=0,1", "steps=1", "resume_sweep=s") == 1
    us = f"process {os.getpid()} on {socket.gethostname()}"
    assert command.err.startswith(f"error: resume_sweep=s: is in use by {us}, since ")


def test_equal_data_and_models_are_looked_at_once_and_only_here(
    monkeypatch: pytest.MonkeyPatch, small_models: Path
) -> None:
    seen: list[TrainConfig] = []
    monkeypatch.setattr(beforehand, "check_run", seen.append)
    bases = [f"model.path={small_models}/{name}.safetensors" for name in ("base", "teacher")]
    typed = [
        [base, f"weighting={weighting}", f"seed={seed}"]
        for base in bases
        for weighting in ("uniform", "phi")
        for seed in range(3)
    ]
    configs = [parse(compose_config(*words), TrainConfig) for words in typed]
    points = [
        Point(number=n, overrides=[], varied={}, directory="", fingerprint="", config=config)
        for n, config in enumerate(configs)
    ]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    check_beforehand(points, "RayLauncher")
    with pytest.raises(
        ConfigError, match=r"^hydra/launcher=submitit_slurm: needs SLURM's sbatch and srun"
    ):
        check_beforehand(points, "SlurmLauncher")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    check_beforehand(points, "SlurmLauncher")
    assert not seen
    for launcher in ("BasicLauncher", "JoblibLauncher", "LocalLauncher"):
        check_beforehand(points, launcher)
        assert [config.model.path for config in seen] == [base[11:] for base in bases]  # type: ignore[attr-defined]
        seen.clear()


def test_of_a_language_model_no_weights_are_read(tmp_path: Path) -> None:
    def looked_at(*words: str) -> None:
        config = ["model=hf", f"model.path={tmp_path}/model", "teacher=none", *JSONL]
        check_run(parse(compose_config(*config, *words), TrainConfig))

    make_model(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    rows = [{"problem": f"{n}+1=", "answer": n + 1} for n in range(50)]
    data = tmp_path / "p.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    short = [f"data.problems={data}", "evaluation.max_new_tokens=9"]
    looked_at(*short, "rollout.max_new_tokens=9")
    with pytest.raises(ValueError, match=r"^data\.overlong=error: .* have more than -72 tokens"):
        looked_at(*short, "rollout.max_new_tokens=200")
    (tmp_path / "model.gguf").touch()
    file = f"model.path={tmp_path}/model.gguf"
    looked_at(*short, "rollout.max_new_tokens=200", file)
    with pytest.raises(ValueError, match=r"^data\.problems=none\.jsonl: no such file"):
        looked_at(file)


def test_jobs_that_are_finished_are_not_looked_at_again(command: Command) -> None:
    model = command.where / "model.safetensors"
    shutil.copy(command.small[-2].partition("=")[2], model)
    typed = ["-m", "seed=0", f"model.path={model}"]
    assert command(*typed, "hydra.sweep.dir=s") == 0
    model.unlink()
    assert command(*typed, "resume_sweep=s") == 0, command.err


@pytest.mark.faults
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            # Two seeds and two rates are four jobs, and two directories.
            ["seed=0,1", "optimizer.lr=1e-4,1e-3", "hydra.sweep.subdir=lr${optimizer.lr}"],
            "hydra.sweep.subdir=lr${optimizer.lr}: jobs 0 (seed=0 optimizer.lr=0.0001) and 2 "
            "(seed=1 optimizer.lr=0.0001) would share the directory lr0.0001; name every",
        ),
        (["seed=0,1", "hydra.sweep.subdir=./a//b"], "hydra.sweep.subdir=./a//b: jobs 0 (seed=0) a"),
        # The second would be a run inside a run.
        (["steps=1,2", "hydra.sweep.subdir='${when:${steps}}'"], "hydra.sweep.subdir=${when:"),
        (["seed=0,1", "hydra.sweep.subdir=.."], "hydra.sweep.subdir=..: job 0 would be outside"),
        (
            ["seed=0,1", "hydra.sweep.dir=s/${seed}"],
            "seed=1: hydra.sweep.dir=s/1: must be the same",
        ),
        (
            ["hydra.sweeper.trials=3", "schedule=linear,cosine", "hydra.sweep.subdir=${steps}"],
            "hydra.sweep.subdir=${steps}: jobs 0 and 1 would share the directory 2; name",
        ),
    ],
)
def test_jobs_that_would_share_a_directory_are_refused_before_the_first(
    command: Command, typed: list[str], line: str
) -> None:
    nested = {1: "a", 2: "a/b"}
    OmegaConf.register_new_resolver("when", lambda steps: nested[steps], replace=True)
    before = sorted(command.where.rglob("*"))
    assert command("-m", *typed) == 1
    assert command.err.startswith(f"error: {line}")
    assert command.err.count("\n") == 1
    assert sorted(command.where.rglob("*")) == before


@pytest.mark.faults
def test_what_lies_in_a_jobs_directory_is_compared_with_the_job(command: Command) -> None:
    assert command("seed=3", "steps=1", "hydra.run.dir=s/0") == 0
    before = command.status("s/0")
    assert command("-m", "seed=0,1", "steps=1", "hydra.sweep.dir=s") == 1
    assert command.err.startswith("error: hydra.sweep.dir=s: 0 holds a run of another config")
    search = ("hydra.sweeper.trials=1", "weighting=uniform,phi")
    assert command("-m", *search, "steps=1", "hydra.sweep.dir=s") == 1
    assert command.err.startswith("error: hydra.sweep.dir=s: s/0 in it is a run directory")
    # Hydra's own sweeper knows nothing of runs: its jobs compare for themselves.
    assert command("-m", "seed=0", "steps=1", "hydra.sweep.dir=s", "hydra/sweeper=basic") == 1
    assert "/s: 0 holds a run of another configuration" in command.err
    assert command.status("s/0") == before
    assert command("-m", "seed=3", "steps=1", "hydra.sweep.dir=s") == 0
    assert "already finished" in command.out


@pytest.mark.parametrize(
    ("place", "subdir"), [("r", "0"), ("r/sub", "0"), ("s/0/x", "0"), ("link/a", "0"), ("s", "0/b")]
)
def test_no_sweep_is_placed_in_the_directory_of_a_run(
    command: Command, place: str, subdir: str
) -> None:
    for run in ("r", "s/0"):
        RunDirectory(command.where / run, compose_config(), run).write()
    (command.where / "link").symlink_to("r")
    before = sorted(command.where.rglob("*"))
    sub = f"hydra.sweep.subdir={subdir}/${{hydra.job.num}}"
    assert command("-m", "seed=0,1", f"hydra.sweep.dir={place}", sub) == 1
    assert command.err.startswith(f"error: hydra.sweep.dir={place}: ")
    outer = command.where / ("s/0" if place.startswith("s") else "r")
    said = f"lies inside the run directory {outer}; give a directory"
    assert ("is a run directory; give another" if place == "r" else said) in command.err
    assert sorted(command.where.rglob("*")) == before


def test_what_differs_is_what_not_all_jobs_have_alike() -> None:
    jobs = [["schedule=linear", "seed=0", "steps=2"], ["schedule=cosine", "seed=0", "steps=2"]]
    assert varying(jobs) == [{"schedule": "linear"}, {"schedule": "cosine"}]
    assert varying(jobs[:1]) == [{}]


def test_the_fingerprint_changes_with_what_changes_a_number() -> None:
    base = fingerprint(compose_config())
    for same in ("tracking=csv", "sweep_metric=val/rl_reward", "resume=x", "skip_finished=true"):
        assert fingerprint(compose_config(same)) == base, same
    others = ["seed=1", "steps=119", "threads=2", "weighting=phi", "trainer.micro_batch=8"]
    prints = [fingerprint(compose_config(other)) for other in others]
    # Equal values in another class are another schedule.
    shape = ["schedule.initial=1", "schedule.final=0", "schedule.total_steps=9"]
    prints += [fingerprint(compose_config(f"schedule={s}", *shape)) for s in ("linear", "cosine")]
    assert len({base, *prints}) == len(prints) + 1


def test_jobs_that_are_not_in_a_row_keep_their_directories() -> None:
    points = [
        Point(number=n, overrides=[f"seed={n}"], varied={}, directory=str(n), fingerprint="")
        for n in (1, 2, 5)
    ]
    assert numbered(points[:2]) == ([["seed=1"], ["seed=2"]], 1)
    assert numbered(points)[0][2] == ["seed=5", "hydra.sweep.subdir='5'"]


def test_jobs_at_a_time_times_threads_are_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    with reading_conf():
        for have, threads, jobs, expected in [
            (8, 3, 9, 2),
            (2, 1, 9, 2),
            (8, 1, 5, 5),
            (2, 4, 3, 1),
        ]:
            config = compose("train", ["hydra/launcher=joblib"], return_hydra_config=True)
            monkeypatch.setattr("chord.sweep.launchers.cores", lambda have=have: have)
            changed, notes = prepared(config, jobs=jobs, threads=threads)
            assert changed.hydra.launcher.n_jobs == expected
            assert config.hydra.launcher.n_jobs == -1
            assert bool(notes) == (threads > have)
        own = compose(
            "train", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"], return_hydra_config=True
        )
        unchanged, (note,) = prepared(own, jobs=9, threads=1)
        assert note.startswith("hydra.launcher.n_jobs=4: with threads")
        assert unchanged.hydra.launcher.n_jobs == 4
        # Of 8 cores, jobs of 3 threads: 2 fit into all of them, into 7 too, into 5 but one.
        monkeypatch.setattr("chord.sweep.launchers.cores", lambda: 8)
        for typed, fit in {"-1": 2, "-2": 2, "-4": 1, "-9": 1}.items():
            given = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={typed}"]
            own = compose("train", given, return_hydra_config=True)
            changed, notes = prepared(own, jobs=9, threads=3)
            assert (changed.hydra.launcher.n_jobs, notes) == (fit, [])
    monkeypatch.undo()
    assert cores() >= 1


def test_a_directory_is_let_go_of(tmp_path: Path) -> None:
    with (
        held(tmp_path, "x"),
        pytest.raises(ConfigError, match=r"^x=.*: is in use by process \d+ on "),
        held(tmp_path, "x"),
    ):
        pass
    with held(tmp_path, "x"):
        pass


def test_a_seed_that_is_not_composed_again_gives_the_same_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    # Each look at the clock finds the next second; all jobs are of one sweep nevertheless.
    seconds = map(datetime.fromtimestamp, itertools.count())
    clock = SimpleNamespace(now=lambda: next(seconds))
    monkeypatch.setattr("hydra.core.utils.datetime", clock)
    register()
    with reading_conf():
        master = compose("train", return_hydra_config=True)
        HydraConfig.instance().set_config(master)
        jobs = [["schedule=linear", f"seed={seed}", "steps=7"] for seed in (0, 3)]
        points = check_points(jobs, master, GlobalHydra.instance().config_loader())
        expected = [fingerprint(compose("train", overrides=job)) for job in jobs]
    assert [point.fingerprint for point in points] == expected
    assert len(set(expected)) == 2


def test_a_job_that_scores_answers_is_checked_beside_one_of_sft_alone() -> None:
    # Only SFT alone does without right answers; both imitate the expert.
    alone, mixed = (
        parse(compose_config(f"schedule={name}"), TrainConfig) for name in ("sft_only", "chord_mu")
    )
    assert beforehand._looked_at(alone) != beforehand._looked_at(mixed)
