"""What all schedules share: alpha for a train step, and what a controller can see of the run."""

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
    """What a controller can read before the step's alpha is chosen, computed over all ranks.

    A field is None if the controller does not need it, or if it has not been measured yet.

    Fields about rollouts describe the policy's own responses to all problems drawn for the step,
    whether or not they are trained on.

    - `reward`: their mean reward, with the format term and the KL penalty if those are on.
    - `entropy`: mean over their tokens of the entropy, in nats, of the distribution that the token
      was sampled from. That is the policy's at the sampling temperature: at T = 1 only if
      `rollout.temperature` is 1.
    - `sft_grad_norm`: norm of the gradient of the SFT loss, not scaled by alpha, at the last
      update before this step that had one. With a gate it is that of the gated loss, in which
      each row has its own share.
    - `advantage_variance`, `nll_variance`, `gap`: read by `gac`, which explains them.
    """

    reward: float | None = None
    entropy: float | None = None
    sft_grad_norm: float | None = None
    advantage_variance: float | None = None
    nll_variance: float | None = None
    gap: float | None = None

    def read(self, name: str) -> float:
        """The field `name`, which the caller has listed in `needs`."""
        value = getattr(self, name)
        assert value is not None, f"{name} was not measured"
        return float(value)


OF_ROLLOUTS = frozenset({"reward", "entropy", "advantage_variance", "gap"})
"""The feedback that needs this step's rollouts."""

OF_EXPERTS = frozenset({"nll_variance", "gap"})
"""The feedback that needs a pass over this step's expert rows."""


@dataclass(kw_only=True)
class Schedule(ABC):
    """Maps a train step (int >= 0) to alpha in [0, 1]; 1 is pure SFT, 0 is pure RL."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The fields of `Feedback` that it reads; empty for an open-loop schedule."""
    jumps: ClassVar[bool] = False
    """Whether alpha jumps from one value to another, without values in between."""

    @abstractmethod
    def __call__(self, step: int, state: State | None = None) -> float:
        """Alpha of train step `step`, counted from 0; also defined past the end of the run.

        `state` is the result of `observe` on the feedback up to and including this step. Only
        controllers read it; None stands for `start()`.
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
        """The state updated with this step's feedback, as a new dict; called once per step."""
        return state

    def bounds(self, steps: int) -> tuple[float, float]:
        """The lowest and the highest alpha that it can take in a run of `steps`."""
        alphas = set(self.values(steps))
        return min(alphas), max(alphas)

    def values(self, steps: int) -> Iterable[float]:
        """Each alpha of a run of `steps`, as an iterator, so that a search can stop early."""
        return (self(step) for step in range(steps))


@dataclass(kw_only=True)
class Controller(Schedule):
    """A closed-loop schedule: alpha depends on measurements of the run so far.

    All of its memory is in the state that it is given: the same state and feedback give the same
    alpha, also in a resumed run.
    """

    @abstractmethod
    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        """The state updated with this step's feedback, as a new dict; called once per step."""

    @abstractmethod
    def bounds(self, steps: int) -> tuple[float, float]:
        """The range of alpha, whatever the feedback."""

    def values(self, steps: int) -> Iterable[float]:
        """Representative values of alpha: the ends of its range and the middle."""
        low, high = self.bounds(steps)
        return [low, (low + high) / 2, high]


def value_of(state: Mapping[str, float], name: str, *, otherwise: float) -> float:
    """The entry `name` of a state, or `otherwise` if it is not there yet."""
    return float(state.get(name, otherwise))


def clip(value: float, low: float, high: float) -> float:
    """`value` within [low, high]: `clip(1.2, 0, 1) == 1`."""
    return float(min(max(value, low), high))


def blend(low: float, high: float, share: float) -> float:
    """low + (high - low) share, clipped to [0, 1] because of rounding."""
    return clip(low + (high - low) * share, 0.0, 1.0)


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless the value is within [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"schedule.{name}={value}: must be within [0, 1]")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless the value is within [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"schedule.{name}={value}: must be within [0, 1)")


def check_range(low: float, high: float) -> None:
    """Raise ValueError unless 0 <= low <= high <= 1."""
    check_share("low", low)
    check_share("high", high)
    if low > high:
        raise ValueError(f"schedule.low={low}: must be at most schedule.high={high}")


def check_total(total_steps: int) -> None:
    """Raise ValueError for a run without steps."""
    if not total_steps >= 1:
        raise ValueError(f"schedule.total_steps={total_steps}: must be at least 1")


def check_length(name: str, value: float) -> None:
    """Raise ValueError unless the value is a share of the run or a number of steps."""
    if not (0 <= value < 1 or (math.isfinite(value) and value >= 1 and value == int(value))):
        raise ValueError(
            f"schedule.{name}={value}: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1"
        )


def resolve_length(value: float, total_steps: int) -> float:
    """The length in steps of a setting: below 1 it is a share of the run, from 1 on a step count.

    `1` and `1.0` both mean one step; the whole run is written as its number of steps. A share is
    not rounded to whole steps, so a curve has the same shape over 100 and over 10,000 steps.
    `resolve_length(0.3, 100) == 30.0`, `resolve_length(30, 100) == 30.0`.
    """
    # .07 * 100 is 7.000000000000001, which must not cost a step.
    return round(value * total_steps, 9) if value < 1 else float(value)
