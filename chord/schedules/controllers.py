"""Schedules in a closed loop: alpha follows what the run shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from chord.schedules.base import (
    Controller,
    Feedback,
    State,
    check_fraction,
    check_range,
    check_share,
    clip,
    value_of,
)


@dataclass(kw_only=True)
class RewardGap(Controller):
    """alpha = clip(tau - reward, 0, 1): imitation makes up for what the rollouts do not reach.

    `reward` is the mean of this step's rollouts, or with `ema` = d > 0 their exponential moving
    average m <- d m + (1 - d) reward, which starts at the first step's reward. From the appendix of
    CHORD (arXiv 2508.11408), tau .5; the average is ours. Not verified against code. Where nothing
    has been observed yet, alpha is tau. Raises ValueError for tau outside [0, 1] or ema outside
    [0, 1). Rewards 0, .3 and .8 at tau .5 give alphas .5, .2 and 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reward"})

    tau: float = 0.5
    ema: float = 0.0

    def __post_init__(self) -> None:
        check_share("tau", self.tau)
        check_fraction("ema", self.ema)

    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        reward = feedback.read("reward")
        before = value_of(state, "reward", otherwise=reward)
        return {"reward": self.ema * before + (1 - self.ema) * reward}

    def __call__(self, step: int, state: State | None = None) -> float:
        return clip(self.tau - value_of(state or {}, "reward", otherwise=0.0), 0.0, 1.0)

    def bounds(self, steps: int) -> tuple[float, float]:
        # A KL penalty can take the reward below 0, and alpha above tau.
        return 0.0, 1.0


@dataclass(kw_only=True)
class EntropyTarget(Controller):
    """alpha <- clip(alpha + rate (target - H), low, high), from `initial`: hold the entropy.

    H is the mean entropy, in nats a token, of the distributions that this step's rollouts were
    sampled from: at T = 1 only where `rollout.temperature` is 1. Imitating the expert spreads the
    policy out where RL narrows it down (arXiv 2508.11408, section 4), so alpha rises while the
    rollouts are more certain than wished. An integrating controller of our own; what is clipped is
    not made up for later. Raises ValueError for a negative rate or target, for ends that are no
    shares, and for `initial` outside them. From .5 with rate .1 and target 1, entropies .4 and 2
    give alphas .56 and .46.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})

    target: float = 0.3
    rate: float = 0.05
    initial: float = 0.5
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        for name in ("target", "rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"schedule.{name}={getattr(self, name)}: must be at least 0")
        check_range(self.low, self.high)
        if not self.low <= self.initial <= self.high:
            raise ValueError(
                f"schedule.initial={self.initial}: must be within [{self.low}, {self.high}], "
                "schedule.low and schedule.high"
            )

    def start(self) -> State:
        return {"alpha": self.initial}

    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        moved = state["alpha"] + self.rate * (self.target - feedback.read("entropy"))
        return {"alpha": clip(moved, self.low, self.high)}

    def __call__(self, step: int, state: State | None = None) -> float:
        return value_of(state or {}, "alpha", otherwise=self.initial)

    def bounds(self, steps: int) -> tuple[float, float]:
        return self.low, self.high
