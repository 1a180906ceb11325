"""Checkpoints that an interrupted run continues from, bit for bit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch

from chord.errors import ConfigError, first_line
from chord.io.reading import opened, read_json
from chord.run.files import CHECKPOINT as CHECKPOINT  # where it was before
from chord.run.files import kept_step
from chord.run.random_states import random_states, restore_random_states


class Saved(NamedTuple):
    """What a run goes on from: completed train steps, random states, the policy's weights, what the
    schedule has observed, and of a fork the states of the optimizers."""

    completed: int = 0
    random: dict[str, Any] | None = None
    weights: dict[str, torch.Tensor] | None = None
    schedule: dict[str, float] | None = None
    optimizers: Sequence[Mapping[str, Any]] = ()


def read_checkpoint(run_dir: Path, setting: str = "resume") -> Saved:
    """What the last checkpoint of a run directory holds; `Saved()` without one.

    Raises ConfigError as `read_saved` does.
    """
    file = run_dir / CHECKPOINT
    return read_saved(file, f"{setting}={run_dir}") if file.exists() else Saved()


def read_saved(file: Path, origin: str) -> Saved:
    """What a checkpoint of a run directory holds.

    Only tensors and plain values are read, so a checkpoint can't run code. Raises ConfigError,
    naming the `origin`, where the file is damaged.
    """
    try:
        state = read_state(file)
        ours = state["chord"]
        if kept_step(file) != 0:  # which its source wrote
            refuse_another_run(ours, file.parents[1])
        return Saved(
            completed=int(ours["completed"]),
            random=ours["random"],
            weights=weights_of(state),
            schedule=ours.get("schedule_state"),
        )
    except Exception as error:
        raise ConfigError(
            f"{origin}: {CHECKPOINT.parent / file.name} can't be read ({first_line(error)})"
        ) from error


def read_state(file: Path) -> dict[str, Any]:
    """All that a file holds; raises, as it happens, where it is no checkpoint of ours."""
    state = tensors_in(file)
    refuse_misfits(state)
    return state


def tensors_in(file: Path) -> dict[str, Any]:
    """What `torch.save` wrote; raises, as it happens, where that is not tensors and plain values.

    What torch says of other objects advises to run the code in them.
    """
    try:
        with opened(file) as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the kind of pickle
            state: dict[str, Any] = torch.load(content, weights_only=True)
    except UnpicklingError:
        raise ConfigError(
            "it holds more than tensors and plain values, which is not read"
        ) from None
    except LookupError:  # of bytes that are no pickle
        raise ConfigError("torch.save has not written it") from None
    return state


def weights_of(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The policy's weights in a checkpoint, by their names in the policy."""
    return {name.removeprefix("policy."): w for name, w in state["state_dict"].items()}


def run_of(run_dir: Path) -> str:
    """What tells a run from all others: the id in its `run.json`, or empty without one."""
    try:
        return str(read_json(run_dir / "run.json").get("tracker_id", ""))
    except (OSError, ValueError):
        return ""


def refuse_another_run(ours: Mapping[str, Any], run_dir: Path) -> None:
    """Raise ConfigError where another run than that in `run_dir` wrote a checkpoint."""
    wrote, own = ours.get("run"), run_of(run_dir)
    if wrote and own and wrote != own:
        raise ConfigError("another run wrote it; put this run's own checkpoint back")


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


def load_weights(
    policy: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    origin: str,
    file: Path = CHECKPOINT,
) -> None:
    """Load a checkpoint's weights; `ConfigError` naming the `origin` where they aren't its own."""
    try:
        lacks, foreign = policy.load_state_dict(weights, strict=False)
        fits = not foreign and set(lacks) <= frozen_names(policy)
    except RuntimeError:
        fits = False
    if not fits:
        raise ConfigError(f"{origin}: {file} holds the weights of another model")


def frozen_names(module: torch.nn.Module) -> set[str]:
    """The parameters that are not trained: checkpoints leave them out."""
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
