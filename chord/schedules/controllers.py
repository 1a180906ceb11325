"""Closed-loop schedules: alpha follows measurements of the run."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chord.schedules.base import (
    Controller,
    Feedback,
    State,
    check_fraction,
    check_length,
    check_range,
    check_share,
    check_total,
    clip,
    resolve_length,
    value_of,
)


@dataclass(kw_only=True)
class RewardGap(Controller):
    """alpha = clip(tau - reward, 0, 1): the less reward the rollouts get, the more SFT.

    `reward` is the mean over this step's rollouts, or with `ema` = d > 0 an exponential moving
    average m <- d m + (1 - d) reward, which starts at the first step's reward. From CHORD (arXiv
    2508.11408, appendix B.1: tau .5 and .7, on tool use), which does not bound alpha by 1; the
    average is chord's addition. Not checked against code. Before the first observation, alpha is
    tau. Raises ValueError for tau outside [0, 1] or ema outside [0, 1). Rewards 0, .3 and .8 at tau
    .5 give alphas .5, .2 and 0.
    """

    option = "reward_gap"

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
        # A KL penalty can lower the reward below 0, and so raise alpha above tau.
        return 0.0, 1.0


@dataclass(kw_only=True)
class EntropyTarget(Controller):
    """alpha <- clip(alpha + rate (target - H), low, high), from `initial`: keeps H near the target.

    H is the mean entropy, in nats per token, of the distributions that this step's rollouts were
    sampled from: at T = 1 only if `rollout.temperature` is 1. Unweighted SFT raises the entropy
    (arXiv 2508.11408, section 3.3), whereas RL lowers it, so alpha rises while the rollouts have
    less entropy than the target. This integrating controller is chord's own; clipped changes are
    not made up for later. Raises ValueError for a negative rate or target, for bounds outside
    [0, 1], and for `initial` outside the bounds. From .5 with rate .1 and target 1, entropies .4
    and 2 give alphas .56 and .46.
    """

    option = "entropy"

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


@dataclass(kw_only=True)
class GradientRatio(Controller):
    """SASR (arXiv 2505.13026): the larger the SFT gradient still is, the more SFT.

    The warm-up has SFT only and ends with a gradient norm G_0. From then on

        P(SFT) = G / (G + gamma G_0)

    where G is the norm in the last step that had an SFT branch. With `draw`, each step is SFT with
    probability P and RL otherwise, drawn from `seed` and the step alone. With `draw=false`, which
    is chord's addition, alpha = P, the mean of the draws. Norms are those of the step's SFT loss,
    with its weights, before clipping; 0 / 0 counts as 0.

    Follows the paper's algorithm as described by two third parties; the authors' code was not
    found, and the paper's gamma was not seen. Below 1, `warmup` is a share of the run, from 1 on a
    number of steps, and at least one step. Raises ValueError naming the setting that is out of
    range. G_0 = 2 and G = 1 at gamma 1 give P = 1/3.
    """

    option = "gradient_ratio"

    needs: ClassVar[frozenset[str]] = frozenset({"sft_grad_norm"})

    warmup: float = 0.1
    gamma: float = 1.0
    draw: bool = True
    seed: int = 0
    total_steps: int

    def __post_init__(self) -> None:
        check_length("warmup", self.warmup)
        if not 0 <= self.gamma < math.inf:
            raise ValueError(f"schedule.gamma={self.gamma}: must be at least 0")
        check_total(self.total_steps)

    @property
    def switch(self) -> int:
        """The first step after the warm-up."""
        return max(1, math.ceil(resolve_length(self.warmup, self.total_steps)))

    def needs_at(self, step: int) -> frozenset[str]:
        return self.needs if step >= self.switch else frozenset()

    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        if not self.needs_at(step):
            return state
        norm = feedback.read("sft_grad_norm")
        return {"first": value_of(state, "first", otherwise=norm), "norm": norm}

    def probability(self, state: State) -> float:
        """P(SFT) after the warm-up."""
        norm = value_of(state, "norm", otherwise=1.0)
        total = norm + self.gamma * value_of(state, "first", otherwise=norm)
        return norm / total if total > 0 else 0.0

    def __call__(self, step: int, state: State | None = None) -> float:
        if step < self.switch:
            return 1.0
        probability = self.probability(state or {})
        if not self.draw:
            return probability
        # A string seeds the same on every machine and version.
        return float(random.Random(f"sft or rl {self.seed} {step}").random() < probability)

    def bounds(self, steps: int) -> tuple[float, float]:
        return 0.0, 1.0

    def values(self, steps: int) -> Iterable[float]:
        if steps <= self.switch:
            return [1.0]
        # Each draw takes one branch or the other.
        return [0.0, 1.0] if self.draw else super().values(steps)
