"""Schedules with one branch at a time: SFT in some steps, RL in the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from chord.schedules.base import Schedule, State, check_length, check_total, resolve_length


@dataclass(kw_only=True)
class Phase:
    """What else changes when `Step` switches from SFT to RL.

    `lr`: the two peak learning rates [sft, rl], as absolute values; None takes the optimizer's rate
    for RL and `sft_factor` times it for SFT. `reset_optimizer`: whether the optimizer's state is
    dropped at the switch, as if RL were a second run. Raises ValueError for rates or a factor that
    are not positive.
    """

    lr: list[float] | None = None
    sft_factor: float = 1.0
    reset_optimizer: bool = True

    def __post_init__(self) -> None:
        if not (self.sft_factor > 0 and math.isfinite(self.sft_factor)):
            raise ValueError(f"schedule.phase.sft_factor={self.sft_factor}: must be positive")
        if self.lr is None:
            return
        if len(self.lr) != 2 or not all(rate > 0 and math.isfinite(rate) for rate in self.lr):
            raise ValueError(
                f"schedule.phase.lr={list(self.lr)}: must be two positive learning rates [sft, rl]"
            )


@dataclass(kw_only=True)
class Step(Schedule):
    """alpha = 1 before `switch_step`, 0 from it on: SFT, then RL.

    Below 1, `switch_step` is a share of the run (0: RL from the start); from 1 on, it is a whole
    number of steps. A share that falls between two steps switches at the later one. `phase` gives
    each part its own learning rate and a fresh optimizer, which a fair baseline needs.
    Raises ValueError naming the setting that is out of range.
    `Step(switch_step=0.5, total_steps=100)(49) == 1.0`, at 50 it is 0.0.
    """

    option = "step"

    jumps: ClassVar[bool] = True

    switch_step: float = 0.5
    total_steps: int
    phase: Phase = field(default_factory=Phase)

    def __post_init__(self) -> None:
        check_length("switch_step", self.switch_step)
        check_total(self.total_steps)

    @property
    def switch(self) -> int:
        """The first step of RL, or the run's length if there is none."""
        return math.ceil(min(resolve_length(self.switch_step, self.total_steps), self.total_steps))

    def __call__(self, step: int, state: State | None = None) -> float:
        return 1.0 if step < self.switch else 0.0


@dataclass(kw_only=True)
class Periodic(Schedule):
    """alpha = 1 in the last of every `period` steps, else 0: SFT interleaved with RL.

    Raises ValueError for period < 1. With period 4: 0, 0, 0, 1, 0, 0, 0, 1, ...
    """

    option = "periodic"

    jumps: ClassVar[bool] = True

    period: int = 4

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"schedule.period={self.period}: must be at least 1")

    def __call__(self, step: int, state: State | None = None) -> float:
        return float(step % self.period == self.period - 1)
