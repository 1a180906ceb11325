"""Checkpoints that an interrupted run continues from, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from chord.errors import ConfigError, first_line
from chord.io.reading import opened
from chord.run.random_states import random_states, restore_random_states

CHECKPOINT = Path("checkpoints") / "last.ckpt"


class Saved(NamedTuple):
    """What a run goes on from: completed train steps, random states, the policy's weights, and what
    the schedule has observed."""

    completed: int = 0
    random: dict[str, Any] | None = None
    weights: dict[str, torch.Tensor] | None = None
    schedule: dict[str, float] | None = None


def read_checkpoint(run_dir: Path, setting: str = "resume") -> Saved:
    """What the last checkpoint of a run directory holds; `Saved()` without one.

    Only tensors and plain values are read, so a checkpoint can't run code. Raises ConfigError where
    the file is damaged.
    """
    if not (run_dir / CHECKPOINT).exists():
        return Saved()
    try:
        with opened(run_dir / CHECKPOINT) as file:
            state: dict[str, Any] = torch.load(file, weights_only=True)
        ours, weights = state["chord"], state["state_dict"]
        refuse_misfits(state)
        return Saved(
            completed=int(ours["completed"]),
            random=ours["random"],
            weights={name.removeprefix("policy."): tensor for name, tensor in weights.items()},
            schedule=ours.get("schedule_state"),
        )
    except Exception as error:
        raise ConfigError(
            f"{setting}={run_dir}: {CHECKPOINT} can't be read ({first_line(error)})"
        ) from error


def refuse_misfits(state: Mapping[str, Any]) -> None:
    """Raise, as it happens, where a checkpoint holds values that none of ours does."""
    ours = state["chord"]
    if ours["completed"] < 0:
        raise ConfigError(f"it has {ours['completed']} completed steps")
    before = random_states()
    try:
        restore_random_states(ours["random"])
    finally:
        restore_random_states(before)
    for name in ("schedule_state", "skipped"):
        if not isinstance(ours.get(name) or {}, Mapping):
            raise TypeError(f"its {name} is no mapping")
    if not isinstance(ours.get("gate_state") or [], list):
        raise TypeError("its gate_state is no list")
    for each in state.get("optimizer_states", ()):
        kept, groups = each["state"], each["param_groups"]
        lists = all(isinstance(one["params"], list) for one in groups)
        if not isinstance(kept, Mapping) or not lists:
            raise TypeError("its optimizer's state is of another kind")


def load_weights(policy: torch.nn.Module, weights: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load a checkpoint's weights; `ConfigError` naming the `origin` where they aren't its own."""
    try:
        lacks, foreign = policy.load_state_dict(weights, strict=False)
        fits = not foreign and set(lacks) <= frozen_names(policy)
    except RuntimeError:
        fits = False
    if not fits:
        raise ConfigError(f"{origin}: {CHECKPOINT} holds the weights of another model")


def frozen_names(module: torch.nn.Module) -> set[str]:
    """The parameters that are not trained: checkpoints leave them out."""
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
