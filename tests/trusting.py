"""Configuration files and run directories from elsewhere, as tests make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from chord.config.composing import reading_conf
from chord.config.messages import one_line
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.status import begin

SECRET = "CHORD_TEST_SECRET"

NAMED = "reward.function=chord_test_stranger:score"


def written(directory: Path, name: str, text: str) -> Path:
    """A file NAME.yaml below a directory of configuration files."""
    file = directory / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def composed(directory: Path, *overrides: str) -> DictConfig:
    """What a command composes with that directory beside chord's own."""
    with reading_conf():
        return compose(
            "train",
            [f"hydra.searchpath=[file://{directory}]", *overrides],
            return_hydra_config=True,
        )


def refused(directory: Path, *overrides: str) -> str:
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as raised:
        composed(directory, *overrides)
    return one_line(raised.value)


def run_in(path: Path, *overrides: str) -> Path:
    """A run directory as a command leaves it, without the training."""
    return begun(RunDirectory(path, compose_config(*overrides), "run"))


def begun(run: RunDirectory) -> Path:
    """The directory of a run that has just begun."""
    begin(run)
    run.write()
    return run.path


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A run directory that names code, and came here some other way than from this user's chord."""
    made = run_in(tmp_path / "made", "reward=function", NAMED)
    return made.rename(tmp_path / "stranger")


def of_old(run: Path) -> Path:
    """The run as if the first format of `run.json` had been the newest."""
    newer = ("format", "contents", "changes", "expressions")
    return said_in(run, lambda facts: [facts.pop(name) for name in newer])


def said_in(run: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A run whose run.json says something else than chord wrote."""
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))
    return run
