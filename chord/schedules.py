"""Schedules: train step -> alpha, the share of imitation in the loss.

`alpha` is the SFT share: 1 is pure imitation, 0 is pure RL. The paper (arXiv 2508.11408) calls it
mu. A schedule counts *train steps* (one optimizer step on one batch of each active stream) from 0.
With `q = min(step / total_steps, 1)` the first update sees q = 0 and the last one
q = (total_steps - 1) / total_steps: `final` itself is reached only past the end of the run.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"schedule.{name}={value}: must be within [0, 1]")


def _check_total(total_steps: int) -> None:
    if not total_steps >= 1:
        raise ValueError(f"schedule.total_steps={total_steps}: must be at least 1")


def _check_length(name: str, value: float) -> None:
    if not (0 <= value < 1 or (math.isfinite(value) and value >= 1 and value == int(value))):
        raise ValueError(
            f"schedule.{name}={value}: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1"
        )


def resolve_length(value: float, total_steps: int) -> float:
    """Length in steps of a setting that is a share of the run below 1 and a step count from 1 on.

    `1` and `1.0` both mean one step; the whole run is written as its number of steps. A share is
    not rounded to whole steps, so a curve has the same shape in 100 and in 10,000 of them.
    `resolve_length(0.3, 100) == 30.0`, `resolve_length(30, 100) == 30.0`.
    """
    # .07 * 100 is 7.000000000000001, which must not cost a step.
    return round(value * total_steps, 9) if value < 1 else float(value)


@dataclass(kw_only=True)
class Schedule(ABC):
    """Maps a train step (int >= 0) to alpha in [0, 1]; 1 is pure imitation, 0 is pure RL."""

    needs_rollouts: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Alpha of train step `step`, counted from 0; defined beyond the end of the run too."""


@dataclass(kw_only=True)
class Constant(Schedule):
    """alpha = value. The default .1 is CHORD-phi's (arXiv 2508.11408, section 4).

    Raises ValueError for a value outside [0, 1]. `Constant(value=0.1)(7) == 0.1`.
    """

    value: float = 0.1

    def __post_init__(self) -> None:
        _check_share("value", self.value)

    def __call__(self, step: int) -> float:
        return float(self.value)


@dataclass(kw_only=True)
class _Ramp(Schedule):
    """What linear, cosine and exponential share: two ends and the length of the run."""

    initial: float = 1.0
    final: float = 0.2
    total_steps: int

    def __post_init__(self) -> None:
        _check_share("initial", self.initial)
        _check_share("final", self.final)
        _check_total(self.total_steps)

    def __call__(self, step: int) -> float:
        q = min(step / self.total_steps, 1.0)
        return _blend(self.final, self.initial, self._initial_share(q))

    @abstractmethod
    def _initial_share(self, q: float) -> float:
        """How much of `initial` is left at progress q in [0, 1]."""


def _blend(low: float, high: float, share: float) -> float:
    """low + (high - low) share, kept inside [0, 1] against rounding."""
    return min(max(low + (high - low) * share, 0.0), 1.0)


@dataclass(kw_only=True)
class Linear(_Ramp):
    """alpha = initial + (final - initial) q, q = min(step / total_steps, 1).

    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    `Linear(initial=1.0, final=0.2, total_steps=200)(100) == 0.6`.
    """

    def _initial_share(self, q: float) -> float:
        return 1.0 - q


@dataclass(kw_only=True)
class Cosine(_Ramp):
    """alpha = final + (initial - final) (1 + cos(pi q)) / 2, q = min(step / total_steps, 1).

    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    `Cosine(initial=1.0, final=0.2, total_steps=200)(50)` is .6 + .4 cos(pi/4) = .88284.
    """

    def _initial_share(self, q: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * q))


@dataclass(kw_only=True)
class Exponential(_Ramp):
    """alpha = final + (initial - final) exp(-5 q), q = min(step / total_steps, 1).

    It ends at final + (initial - final) e^-5, not at `final`: 1.0 -> 0.2 stops at .20539.
    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    """

    def _initial_share(self, q: float) -> float:
        return math.exp(-5.0 * q)


@dataclass(kw_only=True)
class WarmupDecay(Schedule):
    """Linear 0 -> peak over `warmup`, half-cosine peak -> valley over `decay`, then valley.

    CHORD-mu (arXiv 2508.11408, section 4.3): .9 -> .05, no warm-up, decay over 200 of 1,500 steps
    (2/15 of the run). With s the step, W and D the lengths in steps:

        s < W:      peak s / W
        s < W + D:  valley + (peak - valley) (1 + cos(pi (s - W) / D)) / 2
        else:       valley

    `warmup` and `decay` are shares of the run below 1 and whole numbers of steps from 1 on: `1` and
    `1.0` both mean one step. They may reach beyond the end of the run. With both 0 the peak is
    never seen. Raises ValueError naming the setting that is out of range.
    `WarmupDecay(decay=200, total_steps=1500)(100) == 0.475`.
    """

    peak: float = 0.9
    valley: float = 0.05
    warmup: float = 0
    decay: float = 2 / 15
    total_steps: int

    def __post_init__(self) -> None:
        _check_share("peak", self.peak)
        _check_share("valley", self.valley)
        _check_length("warmup", self.warmup)
        _check_length("decay", self.decay)
        _check_total(self.total_steps)

    def __call__(self, step: int) -> float:
        warmup = resolve_length(self.warmup, self.total_steps)
        decay = resolve_length(self.decay, self.total_steps)
        if step < warmup:
            return _blend(0.0, self.peak, step / warmup)
        if step >= warmup + decay:
            return float(self.valley)
        cosine = math.cos(math.pi * (step - warmup) / decay)
        return _blend(self.valley, self.peak, 0.5 * (1.0 + cosine))


@dataclass(kw_only=True)
class Phase:
    """What else changes when `Step` goes from imitation to RL.

    `lr`: the two peak learning rates [sft, rl], absolute values; None keeps the optimizer's own in
    both. `reset_optimizer`: whether the optimizer's state is dropped at the switch, as it would be
    if RL were a second run. Raises ValueError for other than two positive rates.
    """

    lr: list[float] | None = None
    reset_optimizer: bool = True

    def __post_init__(self) -> None:
        if self.lr is None:
            return
        if len(self.lr) != 2 or not all(rate > 0 and math.isfinite(rate) for rate in self.lr):
            raise ValueError(
                f"schedule.phase.lr={list(self.lr)}: must be two positive learning rates [sft, rl]"
            )


@dataclass(kw_only=True)
class Step(Schedule):
    """alpha = 1 before `switch_step`, 0 from it on: SFT, then RL.

    `switch_step` is a share of the run below 1 and a whole number of steps from 1 on (0: RL from
    the start). A share that falls between two steps switches at the later one. `phase` gives each
    part its own learning rate and a fresh optimizer, without which this is no fair baseline.
    Raises ValueError naming the setting that is out of range.
    `Step(switch_step=0.5, total_steps=100)(49) == 1.0`, at 50 it is 0.0.
    """

    switch_step: float = 0.5
    total_steps: int
    phase: Phase = field(default_factory=Phase)

    def __post_init__(self) -> None:
        _check_length("switch_step", self.switch_step)
        _check_total(self.total_steps)

    @property
    def switch(self) -> int:
        """The first step of RL, the run's length if there is none."""
        return math.ceil(min(resolve_length(self.switch_step, self.total_steps), self.total_steps))

    def __call__(self, step: int) -> float:
        return 1.0 if step < self.switch else 0.0
