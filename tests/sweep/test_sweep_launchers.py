"""Launchers of extras, run where they are installed, and the sweep that W&B directs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pages import ROOT
from sweeps import Command, command, damaged, small

from chord.config.messages import EXTRAS
from chord.errors import ConfigError
from chord.evaluation.settings import check_metric
from chord.io.extras import install
from chord.sweep.points import refuse_strategy
from chord.tracking import Tracker, new_run_id

__all__ = ["command"]


def installed(extra: str) -> bool:
    return importlib.util.find_spec(f"hydra_plugins.hydra_{extra}_launcher") is not None


@pytest.mark.parametrize("launcher", EXTRAS)
def test_a_launcher_that_is_not_installed_names_its_extra(command: Command, launcher: str) -> None:
    extra = EXTRAS[launcher]
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
    if installed(extra):
        return
    assert command("-m", "seed=0", f"hydra/launcher={launcher}") == 1
    line = f"hydra/launcher={launcher}: is not installed; {install(extra)}"
    assert command.err == f"error: {line}\n"


@pytest.mark.parametrize(
    ("strategy", "launcher", "refused"),
    [
        ("ddp", "BasicLauncher", True),
        ("ddp", "LocalLauncher", True),
        ("fsdp", "JoblibLauncher", True),
        ("auto", "BasicLauncher", False),
        ("ddp", "SlurmLauncher", False),
    ],
)
def test_a_strategy_that_starts_the_command_again_is_refused(
    strategy: str, launcher: str, refused: bool
) -> None:
    config = SimpleNamespace(trainer=SimpleNamespace(strategy=strategy, devices=2, num_nodes=1))
    if refused:
        with pytest.raises(ConfigError, match=rf"^trainer\.strategy={strategy}: starts"):
            refuse_strategy(config, launcher)  # type: ignore[arg-type]
    else:
        refuse_strategy(config, launcher)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_jobs_end_as_they_do_one_after_the_other(
    small_models: Path, tmp_path: Path, launcher: str
) -> None:
    if not installed(EXTRAS[launcher]):
        pytest.skip(f"hydra/launcher={launcher} is not installed")
    models = f"{small_models}/base.safetensors,{damaged(small_models, tmp_path)}"
    grid = [f"model.path={models}", "seed=0,1", "hydra.sweep.dir=s", f"hydra/launcher={launcher}"]
    done = subprocess.run(
        [sys.executable, "-m", "chord.train", "-m", *small(small_models), *grid],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 1, done.stderr
    facts = [json.loads((tmp_path / f"s/{n}/status.json").read_text()) for n in range(4)]
    assert [fact["status"] for fact in facts] == ["finished"] * 2 + ["failed"] * 2
    assert [fact["job"] for fact in facts] == [0, 1, 2, 3]
    assert "error: 2 of 4 jobs failed\n" in done.stderr
    assert "Traceback" not in done.stderr


def wandb_command(point: str) -> list[str]:
    """What `wandb agent` runs for sweep.yaml, at the first or the last value of everything."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((ROOT / "sweep.yaml").read_text())
    ends = {
        name: {"value": found.get("value", (found.get("values") or [found.get("min")])[0])}
        if point == "first"
        else {"value": found.get("value", (found.get("values") or [found.get("max")])[-1])}
        for name, found in sweep["parameters"].items()
    }
    given = create_sweep_command_args({"args": ends})
    given |= {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
    words: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        words += given[word[2:-1]] if word.startswith("${") else [word]
    return words


@pytest.mark.parametrize("point", ["first", "last"])
def test_the_command_of_a_wandb_agent_can_be_run(command: Command, point: str) -> None:
    words = wandb_command(point)
    assert words[:4] == ["/usr/bin/env", "python", "-m", "chord.train"]
    # The small evaluation instead of the one that chooses settings.
    settings = [word for word in words[4:] if not word.startswith("evaluation=")]
    assert len(settings) == len(words) - 5
    assert command(*settings, "hydra.run.dir=one") == 0, command.err
    facts = json.loads((command.where / "one/run.json").read_text())
    assert facts["overrides"][-len(settings) :] == settings


@pytest.mark.parametrize("agent", [False, True])
def test_a_run_of_a_wandb_agent_keeps_its_settings_where_the_sweep_has_no_names(
    command: Command, monkeypatch: pytest.MonkeyPatch, agent: bool
) -> None:
    given: list[dict[str, Any]] = []

    def remember(*_: Any, config: dict[str, Any], **__: Any) -> Tracker:
        given.append(config)
        return Tracker()

    monkeypatch.setattr("chord.run.training.open_tracker", remember)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    if agent:
        monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert command("schedule=cosine", "tracking=wandb", "hydra.run.dir=one") == 0, command.err
    (config,) = given
    settings = {key: value for key, value in config.items() if key != "run"}
    assert config["run"].get("settings") == (settings if agent else None)
    tags = ["schedule=cosine", "weighting=uniform", "objective=grpo", "seed=0"]
    assert settings["tracking"]["tags"] == tags


def test_the_metric_of_the_wandb_sweep_is_one_of_the_validation() -> None:
    sweep = yaml.safe_load((ROOT / "sweep.yaml").read_text())
    check_metric(sweep["metric"]["name"])


def test_a_run_of_a_wandb_agent_has_the_id_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "given123")
    assert new_run_id() != "given123"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert new_run_id() == "given123"
