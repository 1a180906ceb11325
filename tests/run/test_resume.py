"""A run that was killed at any moment and resumed equals the one that was not, bit for bit."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import compose_config
from faults import tries
from omegaconf import OmegaConf
from resumes import MOMENTS, Killed, die_in, ended, finished, resume, start, start_and_die
from safetensors.torch import load_file

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.checkpoint import CHECKPOINT
from chord.run.directory import RunDirectory
from chord.run.opening import open_run
from chord.run.places import newest_run
from chord.run.resuming import resume_run
from chord.run.training import train
from chord.step.module import ChordModule

__all__ = ["ended", "finished"]


SCHEDULES = [
    "schedule=linear",
    "schedule=sft_then_rl",
    "schedule=chord_mu",
    "schedule=entropy schedule.target=9 schedule.rate=0.01",
]


def test_all_files_of_a_run_are_found_from_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"data.problems": "p.jsonl", "data.expert": "e.jsonl", "data.test": "t.jsonl"}
    named |= {"target.cache": "cache.safetensors", "model.path": "base", "teacher.path": "large"}
    for name in (*named.values(), "kept.jsonl"):
        (tmp_path / name).touch()
    words = ["data=jsonl", "target=soft", "evaluation.retained=[chain_sum,kept.jsonl]"]
    composed = compose_config(*words, *(f"{name}={value}" for name, value in named.items()))
    RunDirectory(tmp_path / "run", composed, "run", started_in=tmp_path).write()
    monkeypatch.chdir(tmp_path / "run")
    run = open_run(Path())
    found = run.checked()
    for name, value in named.items():
        assert operator.attrgetter(name)(found) == str(tmp_path / value)
        assert OmegaConf.select(run.config, name) == value
    assert found.evaluation.retained == ["chain_sum", f"{tmp_path}/kept.jsonl"]
    # A share of the problems is no file.
    assert found.data.validation == "0.1"
    for name in (*named.values(), "kept.jsonl"):
        (tmp_path / name).unlink()
    assert run.checked().model.path == "base"


def contents(path: Path) -> dict[str, object]:
    files = ("metrics.jsonl", "evaluations.jsonl", "completions.jsonl")
    lines = (path / "timings.jsonl").read_text().splitlines()
    timings = [json.loads(line)["step"] for line in lines]
    weights = {k: v.tolist() for k, v in load_file(path / "model.safetensors").items()}
    return {**{f: (path / f).read_text() for f in files}, "timed": timings, "weights": weights}


# A schedule that remembers nothing is as exact at one moment as at another.
FEW = ("before the first checkpoint", "between the update and its rows")
CASES = [
    (schedule, moment)
    for schedule in SCHEDULES
    for moment in (MOMENTS if "entropy" in schedule or tries(few=0, full=1) else FEW)
]


@pytest.mark.faults
@pytest.mark.parametrize(("schedule", "moment"), CASES)
def test_a_killed_run_resumed_equals_the_uninterrupted_one(
    finished: Callable[..., Path], small_models: Path, tmp_path: Path, schedule: str, moment: str
) -> None:
    overrides = schedule.split()
    finished("whole", *overrides)
    start_and_die(moment, small_models, tmp_path / "cut", *overrides)
    resume(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    rows = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    # Else a state that is lost would not show.
    assert len({json.loads(row)["alpha"] for row in rows}) > 1


@pytest.mark.faults
@pytest.mark.parametrize(
    "schedule",
    [
        "gradient_ratio schedule.warmup=1 schedule.draw=false",
        "gac schedule.every=2 schedule.ema=0.5 schedule.cap=0.2 weighting.normalize=mean1",
    ],
)
def test_a_resumed_controller_remembers_what_it_was_shown(
    finished: Callable[..., Path], small_models: Path, tmp_path: Path, schedule: str
) -> None:
    overrides = f"schedule={schedule}".split()
    finished("whole", *overrides)
    start_and_die("between the update and its rows", small_models, tmp_path / "cut", *overrides)
    resume(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    rows = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert len({json.loads(row)["alpha"] for row in rows}) > 2


@pytest.mark.parametrize(
    "settings",
    [
        # An untrained model is always wrong: 4 problems wait after two steps, 3 leave, 1 is saved.
        "gate=all_wrong_buffer gate.size=3 schedule=rl_only data.pairing=paired "
        "optimizer@sft_optimizer=adamw reward=exact",
        "schedule=periodic schedule.period=2 optimizer@sft_optimizer=adamw",
    ],
    ids=["buffer", "periodic"],
)
def test_a_resumed_run_remembers_waiting_problems_and_both_optimizers(
    finished: Callable[..., Path], small_models: Path, tmp_path: Path, settings: str
) -> None:
    overrides = settings.split()
    finished("whole", *overrides)
    start_and_die("between the update and its rows", small_models, tmp_path / "cut", *overrides)
    state = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    assert len(state["optimizer_states"]) == 2
    assert len(state["chord"]["gate_state"]) == ("buffer" in settings)
    resume(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    rows = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    # Two problems a step fail: there are 3 after steps 1, 2 and 4.
    released = [int(json.loads(row).get("gate/released", 0)) for row in rows]
    assert released == ([0, 3, 3, 0, 3] if "buffer" in settings else [0] * 5)
    final = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    assert final["global_step"] == 5


def test_a_row_cut_in_half_by_a_kill_is_written_again(
    finished: Callable[..., Path], small_models: Path, tmp_path: Path
) -> None:
    finished("whole")
    start_and_die("between the update and its rows", small_models, tmp_path / "cut")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "alph')
    resume(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_finished_run_resumed_says_the_same_again(
    finished: Callable[..., Path], tmp_path: Path
) -> None:
    finished("run")
    before = contents(tmp_path / "run")
    resume(tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_the_same_command_gives_the_same_numbers(small_models: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        start(small_models, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    start(small_models, tmp_path / "three", "seed=1")
    assert contents(tmp_path / "three") != contents(tmp_path / "one")


def test_a_resumed_run_takes_its_configuration_from_the_directory(
    finished: Callable[..., Path], tmp_path: Path
) -> None:
    finished("run", "schedule=cosine", "schedule.initial=0.7")
    overrides = [f"resume={tmp_path / 'run'}", "steps=7", "tracking=csv"]
    run = resume_run(tmp_path / "run", compose_config(*overrides), overrides)
    config = parse(run.config, TrainConfig)
    assert config.schedule(0) == pytest.approx(0.7)
    assert config.schedule.total_steps == 7  # type: ignore[attr-defined]
    assert type(config.tracking).__name__ == "CsvTracking"


def test_a_path_that_looks_like_a_reference_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p${x}.jsonl").touch()
    composed = compose_config("data=jsonl", "schedule=rl_only", r"data.problems='p\${x}.jsonl'")
    assert composed.data.problems == "p${x}.jsonl"
    RunDirectory(tmp_path / "run", composed, "run", started_in=tmp_path).write()
    monkeypatch.chdir(tmp_path / "run")
    found = open_run(Path()).checked().data
    assert operator.attrgetter("problems")(found) == str(tmp_path / "p${x}.jsonl")


def test_a_finished_run_extended_takes_the_steps_that_are_new(
    finished: Callable[..., Path], tmp_path: Path
) -> None:
    finished("run")
    overrides = [f"resume={tmp_path / 'run'}", "steps=8"]
    run = resume_run(tmp_path / "run", compose_config(*overrides), overrides)
    before = load_file(tmp_path / "run" / "model.safetensors")
    train(parse(run.config, TrainConfig), run)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(8))
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert any(not before[name].equal(after[name]) for name in before)


def test_the_newest_run_is_found(small_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^RUN: none is given, and there is no run directory"):
        newest_run(tmp_path)
    start(small_models, tmp_path / "a" / "one")
    start(small_models, tmp_path / "b" / "0")
    assert newest_run(tmp_path) == tmp_path / "b" / "0"


def test_a_resumed_run_reads_its_checkpoint_once_and_lightning_does(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        die_in(ChordModule, "update", 4)(patch)
        with pytest.raises(Killed):
            start(small_models, tmp_path / "run")
    load, read = torch.load, []
    monkeypatch.setattr(torch, "load", lambda *a, **k: (read.append(a), load(*a, **k))[1])
    resume(tmp_path / "run")
    assert len(read) == 2


def test_a_checkpoint_holds_no_code(finished: Callable[..., Path], tmp_path: Path) -> None:
    finished("run")
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert state["chord"]["completed"] == 5
    assert not [name for name in state["state_dict"] if not name.startswith("policy.")]
