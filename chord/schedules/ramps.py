"""Open-loop schedules that go from one alpha to another along a curve."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from chord.schedules.base import (
    Schedule,
    State,
    blend,
    check_length,
    check_share,
    check_total,
    resolve_length,
)


@dataclass(kw_only=True)
class Constant(Schedule):
    """alpha = value. The default .1 is CHORD-phi's (arXiv 2508.11408, section 4.3).

    Raises ValueError for a value outside [0, 1]. `Constant(value=0.1)(7) == 0.1`.
    """

    option = "constant"

    value: float = 0.1

    def __post_init__(self) -> None:
        check_share("value", self.value)

    def __call__(self, step: int, state: State | None = None) -> float:
        return float(self.value)

    def values(self, steps: int) -> Iterable[float]:
        return [float(self.value)]


@dataclass(kw_only=True)
class _Ramp(Schedule):
    """What linear, cosine and exponential share: start and end values, and the run's length."""

    initial: float = 1.0
    final: float = 0.2
    total_steps: int

    def __post_init__(self) -> None:
        check_share("initial", self.initial)
        check_share("final", self.final)
        check_total(self.total_steps)

    def __call__(self, step: int, state: State | None = None) -> float:
        q = min(step / self.total_steps, 1.0)
        return blend(self.final, self.initial, self._initial_share(q))

    @abstractmethod
    def _initial_share(self, q: float) -> float:
        """How much of `initial` is left at progress q in [0, 1]."""


@dataclass(kw_only=True)
class Linear(_Ramp):
    """alpha = initial + (final - initial) q, q = min(step / total_steps, 1).

    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    `Linear(initial=1.0, final=0.2, total_steps=200)(100) == 0.6`.
    """

    option = "linear"

    def _initial_share(self, q: float) -> float:
        return 1.0 - q


@dataclass(kw_only=True)
class Cosine(_Ramp):
    """alpha = final + (initial - final) (1 + cos(pi q)) / 2, q = min(step / total_steps, 1).

    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    `Cosine(initial=1.0, final=0.2, total_steps=200)(50)` is .6 + .4 cos(pi/4) = .88284.
    """

    option = "cosine"

    def _initial_share(self, q: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * q))


@dataclass(kw_only=True)
class Exponential(_Ramp):
    """alpha = final + (initial - final) exp(-5 q), q = min(step / total_steps, 1).

    It ends at final + (initial - final) e^-5, not at `final`: 1.0 -> 0.2 stops at .20539.
    Raises ValueError for ends outside [0, 1] or total_steps < 1.
    """

    option = "exponential"

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

    Below 1, `warmup` and `decay` are shares of the run; from 1 on, they are whole numbers of steps:
    `1` and `1.0` both mean one step. They can extend past the end of the run. If both are 0, alpha
    is never at the peak. Raises ValueError naming the setting that is out of range.
    `WarmupDecay(decay=200, total_steps=1500)(100) == 0.475`.
    """

    option = "warmup_decay"

    peak: float = 0.9
    valley: float = 0.05
    warmup: float = 0
    decay: float = 2 / 15
    total_steps: int

    def __post_init__(self) -> None:
        check_share("peak", self.peak)
        check_share("valley", self.valley)
        check_length("warmup", self.warmup)
        check_length("decay", self.decay)
        check_total(self.total_steps)

    def __call__(self, step: int, state: State | None = None) -> float:
        warmup = resolve_length(self.warmup, self.total_steps)
        decay = resolve_length(self.decay, self.total_steps)
        if step < warmup:
            return blend(0.0, self.peak, step / warmup)
        if step >= warmup + decay:
            return float(self.valley)
        cosine = math.cos(math.pi * (step - warmup) / decay)
        return blend(self.valley, self.peak, 0.5 * (1.0 + cosine))
