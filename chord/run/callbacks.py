"""What happens around a train step besides the step: rows, warnings, evaluations.

Those that read a step's numbers take `pl_module.record`, a `chord.step.record.StepRecord` that the
module sets anew in each train batch. They count train steps by it and not by Lightning's
`global_step`, which counts optimizer steps, and so work with manual optimisation and several
updates per batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from chord.distributed.signals import BrokenOff, Signals
from chord.io.printing import say
from chord.run.health import Health
from chord.run.recorder import Recorder, plain
from chord.run.steps import completed_steps
from chord.step.record import StepRecord
from chord.tracking import Tracker


class Recording(Callback):
    """Hands every train step's record to the run directory and to the tracker, on one rank."""

    def __init__(self, recorder: Recorder, tracker: Tracker) -> None:
        self.recorder = recorder
        self.tracker = tracker

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        record = record_of(trainer, pl_module)
        if record is None:
            return
        # Once for both, so that the tracker gets what the files hold.
        metrics, timings = plain(record.metrics), plain(record.timings)
        self.recorder.train(record.step, metrics, timings)
        self.recorder.completions(record.step, record.completions)
        self.tracker.log(record.step, {**metrics, **timings})


class HealthChecks(Callback):
    """Says on the terminal what `chord.run.health` finds in a step's row, on one rank."""

    def __init__(self, health: Health) -> None:
        self.health = health

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        record = record_of(trainer, pl_module)
        if record is None:
            return
        for line in self.health.see({"step": record.step, **plain(record.metrics)}):
            # Above the live lines, if there are any: they catch what is printed.
            say(line, file=sys.stderr)


def record_of(trainer: Trainer, pl_module: LightningModule) -> StepRecord | None:
    """What the step has left, on the first rank alone."""
    record = getattr(pl_module, "record", None)
    assert record is None or isinstance(record, StepRecord)
    return record if trainer.is_global_zero else None


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
