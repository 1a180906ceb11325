"""Checkpoints that an interrupted run continues from, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from chord.distributed.signals import BrokenOff, Signals
from chord.errors import ConfigError, first_line
from chord.io.reading import opened
from chord.io.writing import whole_file
from chord.run.recorder import TamperedError
from chord.step.module import ChordModule

CHECKPOINT = Path("checkpoints") / "last.ckpt"


class Checkpointing(Callback):
    """Writes `checkpoints/last.ckpt` every n train steps and after the last, all of it or nothing.

    Beside Lightning's own state (weights, optimizer, progress) it holds what Lightning leaves out:
    the number of completed train steps, the random states, and what the schedule has observed.
    After a signal it is written at once, and the signal acted on: see `chord.distributed.signals`.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        every: int,
        steps: int,
        signals: Signals | None = None,
        kept: int = 0,
    ) -> None:
        self.path = run_dir / CHECKPOINT
        self.every = every
        self.steps = steps
        self.signals = signals
        self.kept = kept
        """After how many steps the file was written that is there."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = WholeFile()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The base model's evaluation may have taken long; there is nothing to be saved yet.
        if self.signals is not None and self.signals.agree():
            self.signals.act()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        completed = completed_steps(pl_module)
        stop = self.signals is not None and self.signals.agree()
        if stop or completed % self.every == 0 or completed == self.steps:
            self.save(trainer)
        if stop and self.signals is not None:
            self.signals.act()

    def save(self, trainer: Trainer) -> None:
        """Write beside the old file, then put the new one in its place.

        Raises `TamperedError` where that place has become another one.
        """
        place, run_dir = self.path.parent, self.path.parents[1]
        if place.is_symlink() or not run_dir.is_dir():
            raise TamperedError(place, run_dir)
        trainer.save_checkpoint(self.path, weights_only=False)  # with the optimizer and the loop
        self.kept = completed_steps(trainer.lightning_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, ChordModule)
        frozen = frozen_names(pl_module)
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in weights.items() if k not in frozen}
        checkpoint["chord"] = {
            "completed": completed_steps(pl_module),
            "random": random_states(),
            "schedule_state": pl_module.schedule_state,
            "gate_state": pl_module.gate_state,
            "sft_grad_norm": pl_module.sft_grad_norm,
            "skipped": dict(pl_module.guard.skipped),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, ChordModule)
        ours = checkpoint["chord"]
        # A checkpoint from before there were controllers has none of these, and its run needs none.
        pl_module.schedule_state = ours.get("schedule_state", pl_module.schedule_state)
        pl_module.gate_state = ours.get("gate_state", pl_module.gate_state)
        pl_module.sft_grad_norm = ours.get("sft_grad_norm")
        pl_module.guard.skipped = ours.get("skipped", {})


class WholeFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place; Lightning's own way leads through $TMPDIR."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        with whole_file(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)


class Watching(Callback):
    """Takes the signals over from Lightning, before anything that takes long."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.signals.watch()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.signals.steps()


class Evaluating(Callback):
    """Calls `evaluate(completed)` before the first step, every n steps and after the last.

    A signal may break it off (see `chord.distributed.signals`); a run that goes on begins with the
    evaluation that it `lacks`.
    """

    def __init__(
        self,
        evaluate: Callable[[int], object],
        lacks: Callable[[int], bool],
        *,
        every: int,
        steps: int,
    ) -> None:
        self.evaluate = evaluate
        self.lacks = lacks
        self.every = every
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        completed = completed_steps(pl_module)
        if self.every > 0 and completed % self.every == 0 and self.lacks(completed):
            self._evaluate(completed)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        completed = completed_steps(pl_module)
        if completed == self.steps or (self.every > 0 and completed % self.every == 0):
            self._evaluate(completed)

    def _evaluate(self, completed: int) -> None:
        with suppress(BrokenOff):  # the checkpoint, if there is something to save, comes next
            self.evaluate(completed)


def completed_steps(module: LightningModule) -> int:
    """How many train steps the module has taken, those before a resume included."""
    assert isinstance(module, ChordModule)
    return module.first_step if module.record is None else module.record.step + 1


class StepLoader:
    """Hands the numbers of the train steps to Lightning, and goes on where a checkpoint ended."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.next_step = 0

    def __len__(self) -> int:
        # Of the whole run: a resumed loop counts its batches from the first one on.
        return self.steps

    def __iter__(self) -> Iterator[int]:
        while self.next_step < self.steps:
            self.next_step += 1
            yield self.next_step - 1

    def state_dict(self) -> dict[str, int]:
        """What Lightning puts into a checkpoint."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """What Lightning does with it."""
        self.next_step = state["next_step"]


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


def random_states() -> dict[str, Any]:
    """The states of torch's, numpy's and Python's generators, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo what happened to the generators since `random_states`."""
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, values, gauss = states["python"]
    random.setstate((version, tuple(values), gauss))
