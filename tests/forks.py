"""A source of forks, and forks of it; `source` and `forks` are fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SIGNAL, compose_anew, small_composed
from omegaconf import DictConfig

from chord.run.directory import RunDirectory
from chord.run.fork.model import register_sources
from chord.run.training import train

SOURCE = [
    "steps=6",
    "schedule=linear",
    "weighting=phi",
    "weighting@off_policy=luffy",
    "trainer.keep.every=2",
    "evaluation.every=1",
    "evaluation.test=false",
    "optimizer.lr=1e-2",
    SIGNAL,
]


@pytest.fixture(autouse=True)
def forks() -> None:
    register_sources()


@pytest.fixture(scope="module")
def source(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "run"
    composed = small_composed(small_models, *SOURCE)
    run = RunDirectory(path, composed, "source", [], options={"schedule": "linear"})
    train(run.checked(), run)
    return path


def composed(source: Path, *words: str) -> DictConfig:
    return compose_anew(f"fork={source}", *words)


def fork(source: Path, path: Path, *words: str) -> RunDirectory:
    run = RunDirectory(path, composed(source, *words), "fork", list(words))
    train(run.checked(), run)
    return run
