"""Which checkpoints a run keeps in addition to the last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chord.errors import ConfigError, check_choice
from chord.evaluation.settings import check_metric

LOWER = "val/expert_nll"
"""The only metric of an evaluation whose smallest value is the best one."""


@dataclass(kw_only=True)
class Keep:
    """Checkpoints that stay when later ones are written; by default none.

    `best` keeps the one with the largest (`mode=max`) or smallest (`min`) value of a validation
    metric, `every` that of each n-th train step, and `last` the last n of those that are written
    every `trainer.checkpoint_every` steps and at the end.
    """

    best: str | None = None
    mode: str = "max"
    every: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        check_choice("trainer.keep.mode", self.mode, ("max", "min"))
        for name in ("every", "last"):
            if getattr(self, name) < 0:
                value = getattr(self, name)
                raise ConfigError(f"trainer.keep.{name}={value}: must be at least 0")
        if self.best is not None:
            check_metric(self.best, "trainer.keep.best")
            if self.best == LOWER and self.mode == "max":
                raise ConfigError(
                    f"trainer.keep.best={self.best}: is better the lower it is; add "
                    "trainer.keep.mode=min"
                )
        elif self.mode != "max":
            raise ConfigError(f"trainer.keep.mode={self.mode}: needs trainer.keep.best=METRIC")

    def __bool__(self) -> bool:
        return self.best is not None or self.every > 0 or self.last > 0

    def check(self, evaluated_every: int, *, validates: bool) -> None:
        """Raise ConfigError where no evaluations would tell which checkpoint is the best."""
        if self.best is None:
            return
        if not validates:
            raise ConfigError(
                f"trainer.keep.best={self.best}: needs a validation split, and data.validation=0 "
                "holds none out"
            )
        if not evaluated_every:
            raise ConfigError(
                f"trainer.keep.best={self.best}: needs evaluation.every above 0; with 0 only the "
                "last checkpoint is evaluated"
            )

    def by_number(self, completed: int, steps: int, written_every: int) -> Iterator[int]:
        """The train steps, of those up to `completed`, that are kept whatever the metrics are.

        With `every=4` and `last=2`, of a run of 11 steps that writes every 3: 4, 8, 9, 11.
        """
        if self.every:
            yield from range(self.every, completed + 1, self.every)
        if self.last:
            regular = range(written_every, min(completed, steps - 1) + 1, written_every)
            end = [steps] if completed == steps else []
            yield from [*regular[-self.last :], *end][-self.last :]

    def better(self, value: float, than: float) -> bool:
        """Whether a value of the metric is better than another."""
        return value > than if self.mode == "max" else value < than

    def most(self, steps: int, written_every: int) -> int:
        """How many checkpoints a run of `steps` keeps at most."""
        return len({*self.by_number(steps, steps, written_every)}) + (self.best is not None)
