"""Whatever a command opens to score and to answer is closed, however the command ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trusting
from conftest import SMALL, compose_config

import chord.run.training
from chord import evaluate, make_expert
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.data.base import Data
from chord.errors import ConfigError
from chord.plan.calibration import calibrate
from chord.rewards import Grader
from chord.rollout.engines import Engine
from chord.rollout.engines.hf import Generate
from chord.run.directory import RunDirectory
from chord.run.loop import Training
from chord.run.recorder import Recorder

EVERYTHING = ["data", "engine", "reward"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was closed, in turn."""
    said: list[str] = []
    for name, kind in zip(EVERYTHING, (Data, Engine, Grader), strict=True):
        monkeypatch.setattr(kind, "close", lambda self, name=name: said.append(name))
    return said


def failing(*_: Any, **__: Any) -> Any:
    raise OSError("the disk is full")


def train(config: TrainConfig, path: Path) -> None:
    chord.run.training.train(config, RunDirectory(path, compose_config(*SMALL), "run"))


@pytest.mark.parametrize("complete", [lambda run: None, failing], ids=["done", "failed"])
@pytest.mark.parametrize("leader", [True, False], ids=["first", "other"])
def test_each_process_of_a_run_closes_what_it_opened(
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    closed: list[str],
    leader: bool,
    complete: Any,
) -> None:
    monkeypatch.setattr(chord.run.training, "leads", lambda strategy: leader)
    monkeypatch.setattr(Training, "complete", complete)
    if complete is failing:
        with pytest.raises(OSError, match="the disk is full"):
            train(small_config("rollout=hf"), tmp_path / "run")
    else:
        train(small_config("rollout=hf"), tmp_path / "run")
    assert sorted(closed) == EVERYTHING


@pytest.mark.parametrize("step", ["__init__", "truncate", "history"])
def test_a_run_that_fails_before_its_first_step_closes_what_it_opened(
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    closed: list[str],
    step: str,
) -> None:
    monkeypatch.setattr(Recorder, step, failing)
    with pytest.raises(OSError, match="the disk is full"):
        train(small_config("rollout=hf"), tmp_path / "run")
    assert sorted(closed) == EVERYTHING


def test_an_engine_that_does_not_start_is_closed(
    small_config: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    closed: list[str],
) -> None:
    monkeypatch.setattr(Generate, "generate", failing)
    with pytest.raises(ConfigError, match="the engine fails"):
        train(small_config("rollout=hf"), tmp_path / "run")
    assert sorted(closed) == EVERYTHING


def test_a_plan_closes_what_it_opened(
    small_config: Callable[..., TrainConfig], closed: list[str]
) -> None:
    calibrate(small_config("rollout=hf"), 1, began=0.0)
    assert sorted(closed) == EVERYTHING


def test_an_evaluation_that_fails_closes_what_it_opened(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: list[str]
) -> None:
    config = compose_config(*SMALL, f"model.path={small_models}/base.safetensors", "teacher=none")
    trusting.begun(RunDirectory(tmp_path, config, "run"))
    monkeypatch.setattr(evaluate, "trained_model", failing)
    asked = parse(compose_config(f"run={tmp_path}", name="evaluate"), EvaluateConfig)
    with pytest.raises(OSError, match="the disk is full"):
        evaluate.evaluate_run(tmp_path, asked)
    assert sorted(closed) == ["data", "reward"]


def test_an_expert_that_is_refused_closes_what_it_opened(tmp_path: Path, closed: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^data=testbed: already has its own expert"):
        make_expert.make_expert(tmp_path / "e.jsonl", ["data=testbed"], None, 1, 1)
    assert sorted(closed) == ["data", "reward"]
