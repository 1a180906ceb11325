"""What a refusal of processes or devices says to type is not refused itself."""

from __future__ import annotations

import os

import pytest
import torch
from conftest import compose_config

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.sweep.points import refuse_strategy

DDP, FSDP, ONE = ("trainer=ddp",), ("trainer=fsdp",), "trainer.devices=1"


def check(words: tuple[str, ...], *, swept: bool = False) -> None:
    """Refuse what a command with these settings would refuse on this machine."""
    config = parse(compose_config(*words), TrainConfig)
    config.trainer.check_machine()
    if swept:
        refuse_strategy(config, "BasicLauncher")


@pytest.mark.parametrize(
    ("typed", "hint", "processors"),
    [
        (("trainer.devices=2",), DDP, 2),
        (("trainer.devices=2",), FSDP, 2),
        (("trainer.num_nodes=2",), (*DDP, ONE), 1),
        (("trainer.num_nodes=2",), (*FSDP, ONE), 1),
        (("trainer=gpu", "trainer.num_nodes=2"), (*DDP, ONE), 1),
        ((*FSDP, ONE), ("trainer.strategy=auto",), 1),
        (FSDP, ("trainer.strategy=auto", ONE), 1),
        (("trainer=gpu",), ("trainer.accelerator=cpu",), 1),
    ],
)
def test_the_hint_for_a_run_works(
    monkeypatch: pytest.MonkeyPatch,
    typed: tuple[str, ...],
    hint: tuple[str, ...],
    processors: int,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    with pytest.raises(ConfigError) as refused:
        check(typed)
    said = str(refused.value).replace("must be at most 1,", f"{ONE},")
    assert all(word in said for word in hint), said
    named = {word.partition("=")[0] for word in hint}
    check((*(word for word in typed if word.partition("=")[0] not in named), *hint))


@pytest.mark.parametrize("typed", [DDP, FSDP, (*DDP, ONE), (*DDP, "trainer.num_nodes=2")])
def test_the_hint_for_a_sweep_works(
    monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(ConfigError) as refused:
        check(typed, swept=True)
    hint = str(refused.value).rpartition("one process: ")[2].split()
    named = {word.partition("=")[0] for word in hint}
    check((*(word for word in typed if word.partition("=")[0] not in named), *hint), swept=True)


@pytest.mark.parametrize("nodes", [1, 2])
def test_processes_of_one_machine_alone_can_be_started_without_slurm(
    monkeypatch: pytest.MonkeyPatch, nodes: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for name, value in (("NTASKS", "7"), ("JOB_NAME", "job")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    words = (*DDP, f"trainer.num_nodes={nodes}")
    with pytest.raises(ConfigError, match=f"use srun --nodes={nodes} --ntasks-per-node=2") as said:
        check(words)
    assert ("unset SLURM_NTASKS" in str(said.value)) == (nodes == 1)
    monkeypatch.setenv("SLURM_NTASKS", str(2 * nodes))
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    check(words)
    monkeypatch.delenv("SLURM_NTASKS")
    check(words)
