"""What a run does if a gradient is not finite: report the cause, save the step, stop or skip it."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.distributed.collectives import alone, rank, told_by_the_first, world_size
from chord.distributed.strategies import whole, whole_weights
from chord.io.printing import say
from chord.io.writing import UnwrittenError
from chord.models.models import Models
from chord.step.nonfinite.cause import bad_state, find_cause
from chord.step.nonfinite.saved import FILE, SavedStep, of_plan, save_step
from chord.step.optimizer import DivergedError
from chord.step.plan import Plan
from chord.tracking.base import near

if TYPE_CHECKING:
    from chord.config.root import TrainConfig


class Guard:
    """`guard(models, plan, step, name, optimizer)` at a gradient that is not finite.

    All ranks call it, because the norm is over all of them. `skipped` counts the skipped steps in a
    row, for each optimizer by its name; it is part of the checkpoint.
    """

    def __init__(self, config: TrainConfig, run_dir: Path | None = None) -> None:
        self.config = config
        self.run_dir = run_dir
        self.skipped: dict[str, int] = {}

    def __call__(
        self, models: Models, plan: Plan, step: int, name: str, optimizer: torch.optim.Optimizer
    ) -> None:
        """Return if the optimizer step is to be skipped; otherwise raise `DivergedError`."""
        trainer = self.config.trainer
        count = self.skipped[name] = self.skipped.get(name, 0) + 1
        stop = trainer.on_nonfinite == "stop"
        # Later skips in a row usually have the same cause, so only the first one is reported.
        cause = self._cause(models, plan, step, optimizer) if stop or count == 1 else ""
        which = f"{name}_optimizer: " if name else ""
        if stop:
            raise DivergedError(
                f"trainer.on_nonfinite=stop: {which}the gradient of step {step} is not finite: "
                f"{cause}"
            )
        if count > trainer.skip_limit:
            raise DivergedError(
                f"trainer.skip_limit={trainer.skip_limit}: {which}{count} optimizer steps in a row "
                f"had a gradient that is not finite, the last one in step {step}{self._replay()}"
            )
        if cause and rank() == 0:
            say(f"warning: {which}step {step} is left out: {cause}", file=sys.stderr)

    def count(self, name: str, taken: bool, metrics: dict[str, float]) -> None:
        """After each optimizer step, if steps can be skipped: count the skipped ones."""
        if taken:
            self.skipped[name] = 0
        if self.config.trainer.on_nonfinite == "skip":
            metrics["grad/skipped"] = metrics.get("grad/skipped", 0.0) + float(not taken)

    def _cause(
        self, models: Models, plan: Plan, step: int, optimizer: torch.optim.Optimizer
    ) -> str:
        """The cause, and where the step was saved; the first rank looks, the others wait."""
        kept = of_plan(step, plan)
        sharded = whole_weights(models.policy) if _sharded(models) else None
        with whole(models.policy) if sharded is not None else nullcontext():
            said = ""
            if rank() == 0:
                with alone():
                    said, _ = find_cause(models, self.config, kept, gradients=sharded is None)
                named = {id(p): name for name, p in models.policy.named_parameters()}
                if sharded is None and (state := bad_state(optimizer, named)):
                    said += f"; so is the optimizer's {state}"
                kept.facts |= {"cause": said, "lr": float(optimizer.param_groups[0]["lr"])}
                said += self._keep(models, kept, sharded)
            return told_by_the_first(said)

    def _keep(self, models: Models, kept: SavedStep, sharded: dict[str, Tensor] | None) -> str:
        if self.run_dir is None:
            return ""
        policy = models.policy
        weights = policy.state_dict() if sharded is None else sharded
        frozen = {name for name, p in policy.named_parameters() if not p.requires_grad}
        trained = {name: tensor for name, tensor in weights.items() if name not in frozen}
        try:
            save_step(self.run_dir, kept, trained)
        except UnwrittenError as error:
            return f"; the step could not be kept ({error.why})"
        return self._replay()

    def _replay(self) -> str:
        if self.run_dir is None or not (self.run_dir / FILE).exists():
            return ""
        return f"; take it again with python -m chord.replay {shlex.quote(str(near(self.run_dir)))}"


def _sharded(models: Models) -> bool:
    return world_size() > 1 and any(hasattr(p, "full_tensor") for p in models.policy.parameters())
