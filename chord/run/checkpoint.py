"""Checkpoints that an interrupted run continues from, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from chord.errors import ConfigError, first_line
from chord.io.reading import read_json
from chord.models.checkpoints import tensors_in, weights_of
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
        refuse_misplaced(ours, file)
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


def refuse_misplaced(ours: Mapping[str, Any], file: Path) -> None:
    """Raise ConfigError where another run wrote a checkpoint, or this one after other steps."""
    step = kept_step(file)
    if step == 0:
        return  # that of its source
    refuse_another_run(ours, file.parents[1])
    if step is not None and step != ours["completed"]:
        raise ConfigError(f"it was written after step {ours['completed']}; put its own back")


def check_place(file: Path, origin: str) -> None:
    """Raise ConfigError, naming the `origin`, for a checkpoint that is not what its place says.

    No weights are read. What can't be read is left to whoever reads it whole.
    """
    try:
        ours = tensors_in(file, mapped=True)["chord"]
    except Exception:  # whatever a damaged file raises
        return
    try:
        refuse_misplaced(ours, file)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {CHECKPOINT.parent / file.name}: {error}") from error


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
