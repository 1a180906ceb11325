"""Checkpoints that stay beside the last one: which, and how one of them is found.

They are `checkpoints/step-STEP.ckpt`, each as whole as the last one: a run can go on from it. Which
of them stay follows from `trainer.keep`, the completed steps and the evaluations on record, so that
a run that was killed at any moment puts things right when it goes on.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chord.config.keep import Keep
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.evaluation.measured import measured
from chord.io.writing import whole_file
from chord.run.files import CHECKPOINT, EVALUATIONS, kept_file, kept_step, read_rows

if TYPE_CHECKING:
    from chord.data.base import Data


def kept_steps(run_dir: Path) -> list[int]:
    """The steps whose checkpoints a run directory holds, beside the last one."""
    found = map(kept_step, (run_dir / CHECKPOINT.parent).glob("step-*.ckpt"))
    return sorted(step for step in found if step is not None)


def best_step(run_dir: Path, keep: Keep, among: Collection[int] | None = None) -> int | None:
    """After how many train steps the metric was best, the earliest of several; None: never known.

    `among`: only after these. The model before the first step is none that was trained.
    """
    best: tuple[float, int] | None = None
    for row in read_rows(run_dir / EVALUATIONS):
        step, value = row["step"], row.get(str(keep.best))
        if (row.get("split"), row.get("model")) != ("val", "trained") or step == 0:
            continue
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        if (among is None or step in among) and (best is None or keep.better(value, best[0])):
            best = value, step
    return None if best is None else best[1]


def find_checkpoint(
    run_dir: Path, keep: Keep, which: str | None, *, setting: str = "checkpoint="
) -> Path | None:
    """The file of a run's `best` or `last` checkpoint, or of that after a number of train steps.

    None where none is asked for. Raises `ConfigError`, naming those that are there, where the one
    that is asked for is not.
    """
    if which is None:
        return None
    last, named = run_dir / CHECKPOINT, f"{setting}{which}"
    step = best_step(run_dir, keep) if which == "best" and keep.best is not None else None
    if which == "last" and last.exists():
        return last
    if which.isdecimal():
        step = int(which)
    if step is not None:
        if (file := kept_file(run_dir, step)).exists():
            return file
        if last.exists() and completed_in(last) == step:
            return last
    if which == "best" and keep.best is None:
        why = f"{run_dir} was trained without trainer.keep.best"
    elif which in ("best", "last") or which.isdecimal():
        why = f"{run_dir} has no such checkpoint"
    else:
        why = "must be best, last or a number of train steps"
    raise ConfigError(f"{named}: {why}; {_there(run_dir, keep)}")


def completed_in(file: Path) -> int | None:
    """After how many train steps a checkpoint was written; None if it can't be read."""
    # Torch takes seconds to load, and other files are found by their names.
    from chord.models.checkpoints import tensors_in

    try:
        return int(tensors_in(file, mapped=True)["chord"]["completed"])
    except Exception:  # whatever a damaged file raises; whoever reads it whole says so
        return None


def step_of(file: Path) -> int | None:
    """After how many train steps of its run a checkpoint was written; None if it can't be read.

    That of step 0 of a fork holds the number of its source.
    """
    step = kept_step(file)
    return completed_in(file) if step is None else step


def _there(run_dir: Path, keep: Keep) -> str:
    """The checkpoints of a run that can be asked for, in words."""
    steps = kept_steps(run_dir)
    best = best_step(run_dir, keep) if keep.best is not None else None
    names = [
        *(["best"] if best in steps else []),
        *(["last"] if (run_dir / CHECKPOINT).exists() else []),
        *map(str, steps),
    ]
    return f"there are: {', '.join(names)}" if names else "there are none"


@dataclass
class Keeper:
    """Keeps the checkpoints of a run, of `steps` steps, that writes one every `written_every`."""

    run_dir: Path
    keep: Keep
    steps: int
    written_every: int

    @classmethod
    def of(cls, run_dir: Path, config: TrainConfig) -> Keeper:
        trainer = config.trainer
        return cls(run_dir, trainer.keep, config.steps, trainer.checkpoint_every)

    def every(self, completed: int) -> bool:
        """Whether `keep.every` asks for the checkpoint after `completed` steps."""
        return self.keep.every > 0 and completed % self.keep.every == 0

    def is_best(self, completed: int) -> bool:
        """Whether the model after `completed` steps is the best so far."""
        return self.keep.best is not None and best_step(self.run_dir, self.keep) == completed

    def wanted(self, completed: int) -> set[int]:
        """The steps whose checkpoints stay after `completed` steps."""
        found = {*self.keep.by_number(completed, self.steps, self.written_every)}
        if self.keep.best is not None:
            # Of those that are there: the only good one is never given up.
            there = {*kept_steps(self.run_dir), completed}
            best = best_step(self.run_dir, self.keep, there)
            found |= set() if best is None else {best}
        return found

    def tidy(self, completed: int) -> None:
        """Keep the last checkpoint, written after `completed` steps, if it is wanted.

        Then remove those that are not, and those of steps that a resumed run takes again.
        """
        if not self.keep:
            return
        wanted = self.wanted(completed)
        file = kept_file(self.run_dir, completed)
        if completed in wanted and not file.exists():
            share(self.run_dir / CHECKPOINT, file)
        for step in kept_steps(self.run_dir):
            # A fork may have to begin again from that of step 0.
            if step and (step > completed or step not in wanted):
                kept_file(self.run_dir, step).unlink()


def share(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, which is never written to again.

    A copy where the file system can't; all of it or nothing.
    """
    with whole_file(target) as partial:
        try:
            os.link(source.resolve(), partial)
        except OSError:
            shutil.copyfile(source, partial)


def check_metric_known(config: TrainConfig, data: Data) -> None:
    """Raise `ConfigError` where the run's evaluations won't have the metric of `keep.best`."""
    best = config.trainer.keep.best
    if best is None:
        return
    known = [f"val/{name}" for name in measured(data, config.evaluation, "val")]
    if best not in known:
        raise ConfigError(
            f"trainer.keep.best={best}: the evaluations of this run don't have it; they have "
            f"{', '.join(known)}"
        )


def refuse_without_last(run_dir: Path) -> None:
    """Raise `ConfigError` where a run that goes on would begin again, over what it has kept."""
    kept = [step for step in kept_steps(run_dir) if step]
    if kept and not (run_dir / CHECKPOINT).exists():
        newest = kept_file(run_dir, kept[-1])
        raise ConfigError(
            f"resume={run_dir}: {CHECKPOINT} is missing, but {newest.name} is there; copy it to "
            f"{CHECKPOINT.name} to go on from it"
        )
