"""What all schedules share: alpha of a train step, and what a controller may see of the run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

State = dict[str, float]
"""What a controller remembers: plain numbers, so that a checkpoint can hold them."""


@dataclass(kw_only=True)
class Feedback:
    """What a step tells a controller before its alpha is chosen, over all ranks.

    A field that the controller does not need, or that nothing has shown yet, is None.

    Of the rollouts it tells of the policy's own answers to all problems drawn for the step,
    whatever is trained on.

    - `reward`: their mean reward, with the format term and the KL penalty where those are on.
    - `entropy`: mean over their tokens of the entropy, in nats, of the distribution
      each came from. That is the policy's at the sampling temperature: at T = 1 only where
      `rollout.temperature` is 1.
    - `sft_grad_norm`: norm of the gradient of the SFT loss, not scaled by alpha, at the last
      update that had one, which lies before this step. Under a gate it is that of the gated
      loss, in which each row has its own share.
    - `advantage_variance`, `nll_variance`, `gap`: what `gac` reads, see there.
    """

    reward: float | None = None
    entropy: float | None = None
    sft_grad_norm: float | None = None
    advantage_variance: float | None = None
    nll_variance: float | None = None
    gap: float | None = None

    def read(self, name: str) -> float:
        """The field `name`, which the caller has declared among its needs."""
        value = getattr(self, name)
        assert value is not None, f"{name} was not measured"
        return float(value)


OF_ROLLOUTS = frozenset({"reward", "entropy", "advantage_variance", "gap"})
"""The feedback that needs this step's rollouts."""

OF_EXPERTS = frozenset({"nll_variance", "gap"})
"""The feedback that needs a pass over this step's expert rows."""


@dataclass(kw_only=True)
class Schedule(ABC):
    """Maps a train step (int >= 0) to alpha in [0, 1]; 1 is pure imitation, 0 is pure RL."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The fields of `Feedback` that it reads: none in an open loop."""
    jumps: ClassVar[bool] = False
    """Whether alpha leaps from one value to another, with none between them."""

    @abstractmethod
    def __call__(self, step: int, state: State | None = None) -> float:
        """Alpha of train step `step`, counted from 0; defined beyond the end of the run too.

        `state` is what `observe` made of the feedback up to and with this step; only controllers
        look at it, and take None for `start()`.
        """

    @property
    def needs_rollouts(self) -> bool:
        """Whether alpha is chosen after the step's rollouts, which are then never skipped."""
        return bool(self.needs & OF_ROLLOUTS)

    def needs_at(self, step: int) -> frozenset[str]:
        """The part of `needs` that it reads at this step."""
        return self.needs

    def start(self) -> State:
        """The state before the first step."""
        return {}

    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        """The state with this step's feedback taken in, as a new dict; called once a step."""
        return state

    def bounds(self, steps: int) -> tuple[float, float]:
        """The lowest and the highest alpha it may take in a run of `steps`."""
        alphas = set(self.values(steps))
        return min(alphas), max(alphas)

    def values(self, steps: int) -> Iterable[float]:
        """Each alpha of a run of `steps`, one at a time: whoever looks for one may stop there."""
        return (self(step) for step in range(steps))


@dataclass(kw_only=True)
class Controller(Schedule):
    """A schedule in a closed loop: alpha depends on what the run has shown so far.

    All of its memory is in the state that it is handed: the same state and feedback give the same
    alpha, in a resumed run too.
    """

    @abstractmethod
    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        """The state with this step's feedback taken in, as a new dict; called once a step."""

    @abstractmethod
    def bounds(self, steps: int) -> tuple[float, float]:
        """The range of alpha, whatever the feedback."""

    def values(self, steps: int) -> Iterable[float]:
        """Values that stand for all that alpha may have: the ends of its range and the middle."""
        low, high = self.bounds(steps)
        return [low, (low + high) / 2, high]


def value_of(state: Mapping[str, float], name: str, *, otherwise: float) -> float:
    """An entry of a state that may not be there yet."""
    return float(state.get(name, otherwise))


def clip(value: float, low: float, high: float) -> float:
    """`value` within [low, high]: `clip(1.2, 0, 1) == 1`."""
    return float(min(max(value, low), high))


def blend(low: float, high: float, share: float) -> float:
    """low + (high - low) share, kept inside [0, 1] against rounding."""
    return clip(low + (high - low) * share, 0.0, 1.0)


def check_share(name: str, value: float) -> None:
    """Refuse what is not within [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"schedule.{name}={value}: must be within [0, 1]")


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not within [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"schedule.{name}={value}: must be within [0, 1)")


def check_range(low: float, high: float) -> None:
    """Refuse ends that are no shares, or the wrong way round."""
    check_share("low", low)
    check_share("high", high)
    if low > high:
        raise ValueError(f"schedule.low={low}: must be at most schedule.high={high}")


def check_total(total_steps: int) -> None:
    """Refuse a run without steps."""
    if not total_steps >= 1:
        raise ValueError(f"schedule.total_steps={total_steps}: must be at least 1")


def check_length(name: str, value: float) -> None:
    """Refuse what is neither a share of the run nor a number of steps."""
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
