"""Settings of several processes: what a machine must have, and where a run may go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, compose_config
from trusting import begun

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.trainer import TrainerConfig
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.opening import open_run
from chord.run.resuming import resume_run
from chord.run.training import train


def settings(**given: Any) -> TrainerConfig:
    values: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
    sizes = dict.fromkeys(("micro_batch", "diagnostics_every", "completions_every"), 0)
    return TrainerConfig(**(values | sizes | {"checkpoint_every": 1} | given))


def test_what_the_machine_has_not_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    config = compose_config(*SMALL, "trainer=gpu")
    with pytest.raises(ConfigError, match=r"^trainer\.accelerator=gpu: there is no GPU here"):
        train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="devices=3: must be at most 2, the number of processors"):
        settings(devices=3, strategy="ddp", accelerator="auto").check_machine()
    settings(devices=2, strategy="ddp", accelerator="auto").check_machine()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="devices=8: must be at most 4, the number of GPUs"):
        settings(devices=8, strategy="fsdp", accelerator="gpu").check_machine()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_cluster_can_be_configured(strategy: str) -> None:
    given = [f"trainer={strategy}", "trainer.accelerator=gpu", "trainer.devices=8"]
    given += ["trainer.num_nodes=4", "trainer.precision=bf16-mixed", "model=hf", "model.path=x/y"]
    config = parse(compose_config(*given, "teacher=none"), TrainConfig)
    assert config.trainer.processes == 32


def test_a_resumed_run_may_go_on_elsewhere_and_is_otherwise_as_it_was(tmp_path: Path) -> None:
    config = compose_config(*SMALL, "trainer.micro_batch=3")
    begun(RunDirectory(tmp_path, config, "run"))
    overrides = [f"resume={tmp_path}", "trainer=ddp"]
    resumed = resume_run(tmp_path, compose_config(*overrides), overrides).config.trainer
    assert (resumed.strategy, resumed.devices, resumed.micro_batch) == ("ddp", 2, 3)
    overrides = [f"resume={tmp_path}", "trainer.precision=64-true"]
    with pytest.raises(ConfigError, match=r"^trainer\.precision=64-true: can't be changed"):
        resume_run(tmp_path, compose_config(*overrides), overrides)
    assert open_run(tmp_path).config.trainer.strategy == "auto"


@pytest.mark.faults
def test_an_allocation_for_several_processes_is_none_of_a_single_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("NTASKS", "4"), ("JOB_ID", "12"), ("JOB_NAME", "job"), ("PROCID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    single = settings(devices=1, strategy="auto", accelerator="cpu")
    single.check_machine()
    assert single.build(max_steps=1, callbacks=[]).world_size == 1
    with pytest.raises(ValueError, match=r"^trainer\.devices=2: SLURM says that it starts 4 proc"):
        settings(devices=2, strategy="ddp", accelerator="cpu").check_machine()
    # As many, but Lightning has to be told how many on each machine.
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(ValueError, match="and no SLURM_NTASKS_PER_NODE"):
        settings(devices=2, strategy="ddp", accelerator="cpu").check_machine()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    settings(devices=2, strategy="ddp", accelerator="cpu").check_machine()
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    monkeypatch.setenv("SLURM_NTASKS", "7")
    settings(devices=2, strategy="ddp", accelerator="cpu").check_machine()
