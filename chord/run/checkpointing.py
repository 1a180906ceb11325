"""Writes the checkpoint after a train step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from chord.config.root import TrainConfig
from chord.distributed.collectives import all_max
from chord.distributed.signals import Signals
from chord.io.signs import Signs
from chord.io.writing import whole_file
from chord.models.checkpoints import frozen_names
from chord.run.checkpoint import CHECKPOINT, run_of
from chord.run.kept import Keeper
from chord.run.random_states import random_states
from chord.run.steps import completed_steps
from chord.run.tampering import TamperedError
from chord.step.module import ChordModule


class Checkpointing(Callback):
    """Writes `checkpoints/last.ckpt` every n train steps and after the last, all of it or nothing.

    Also after steps whose checkpoints are to be kept: see `chord.run.kept`.

    Beside Lightning's own state (weights, optimizer, progress) it holds what Lightning leaves out:
    the number of completed train steps, the random states, and what the schedule has observed.
    After a signal it is written at once, and the signal acted on: see `chord.distributed.signals`.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        *,
        signals: Signals | None = None,
        signs: Signs | None = None,
        kept: int = 0,
    ) -> None:
        self.path = run_dir / CHECKPOINT
        self.run = run_of(run_dir)
        self.every = config.trainer.checkpoint_every
        self.steps = config.steps
        self.evaluated_every = config.evaluation.every
        self.keeper = Keeper.of(run_dir, config)
        self.signals = signals
        self.signs = signs or Signs("")
        self.kept = kept
        """After how many steps the file was written that is there."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = WholeFile()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The base model's evaluation may have taken long; there is nothing to be saved yet.
        if self.signals is not None and self.signals.agree():
            self.signals.act()
        # A kill may have come between a checkpoint and this, or the evaluation that it lacked.
        self.tidy(trainer, completed_steps(pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        completed = completed_steps(pl_module)
        stop = self.signals is not None and self.signals.agree()
        regular = completed % self.every == 0 or completed == self.steps
        if stop or regular or self.keeper.every(completed) or self.is_best(trainer, completed):
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
        completed = completed_steps(trainer.lightning_module)
        with self.signs.during(f"writing the checkpoint after step {completed}"):
            # With the optimizer and the loop.
            trainer.save_checkpoint(self.path, weights_only=False)
        self.kept = completed
        self.tidy(trainer, self.kept)

    def tidy(self, trainer: Trainer, completed: int) -> None:
        """Keep the checkpoint that was written last, if it is to stay, and remove older ones."""
        if trainer.is_global_zero:
            self.keeper.tidy(completed)

    def is_best(self, trainer: Trainer, completed: int) -> bool:
        """Whether the evaluation that the step has just had is the best so far."""
        every = self.evaluated_every
        if self.keeper.keep.best is None or not every or completed % every:
            return False
        best = trainer.is_global_zero and self.keeper.is_best(completed)
        # Only the first process has it on record, and all of them write a checkpoint together.
        return int(all_max(torch.tensor(int(best)))) > 0

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(pl_module, ChordModule)
        frozen = frozen_names(pl_module)
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in weights.items() if k not in frozen}
        checkpoint["chord"] = {
            "run": self.run,
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
