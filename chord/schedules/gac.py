"""A controller that weighs the noise of the two branches against their disagreement."""

from __future__ import annotations

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
from chord.schedules.ramps import WarmupDecay


@dataclass(kw_only=True)
class Gac(Controller):
    """GAC (arXiv 2605.26184): the mix with the smallest bound on its gradient's mean squared error.

    A mixed gradient alpha g_s + (1 - alpha) g_r that is meant to be `balance` g_s + (1 - balance)
    g_r has variance alpha^2 s_s^2 + (1 - alpha)^2 s_r^2 and bias (alpha - balance)^2 D^2, whose sum
    is smallest at

        best = (balance D^2 + s_r^2) / (D^2 + s_s^2 + s_r^2)

    Every `every` steps, at those that it divides, the three are measured on this step's rows of all
    ranks and taken into averages m <- ema m + (1 - ema) x, which start at the first measurement.
    Then alpha moves by at most `cap` towards

        clip(blend best + (1 - blend) prior(step), low, high)

    with prior `WarmupDecay(peak, valley, warmup, decay)`; it starts at the prior, clipped. Where
    all three are 0, best is `balance`. What is measured (see `chord.step.feedback`):

    - s_r^2 `advantage_variance`: population variance of the advantages of the policy's own answers
      to all problems drawn, one a sequence.
    - s_s^2 `nll_variance`: the same of the expert sequences' mean -log p a token at T = 1, without
      the share `trim` of them at each end.
    - D^2 `gap`: mean of (w - A)^2 over all pairs of an expert token, with its weight w, and a
      rollout token, with its advantage A: what -grad log p is multiplied by in either branch.

    Checked against the authors' controller (huyuelin/GAC): `best`, both variances, the averages of
    the statistics, the blend, the prior's form and the defaults are the same. Departs: there alpha
    starts at .5; `best` is averaged with alpha once more, with the weight `ema`, before the blend;
    alpha moves at every step; a KL target can steer `balance`; and D^2 is the mean over answers of
    (p (1 - p))^2 on expert tokens and (p (1 - p) - A)^2 on own ones, without pairs. That the
    prior's 200 and 800 steps are .2 and .8 of a run is our reading. Raises ValueError naming the
    setting that is out of range. D^2 = 1, s_s^2 = 2, s_r^2 = 1 give best = 1.5/4 = .375.
    """

    option = "gac"

    needs: ClassVar[frozenset[str]] = frozenset({"advantage_variance", "nll_variance", "gap"})

    balance: float = 0.5
    ema: float = 0.99
    cap: float = 0.01
    every: int = 10
    blend: float = 0.5
    trim: float = 0.1
    peak: float = 0.85
    valley: float = 0.15
    warmup: float = 0.2
    decay: float = 0.8
    low: float = 0.05
    high: float = 0.9
    total_steps: int

    def __post_init__(self) -> None:
        for name in ("balance", "blend"):
            check_share(name, getattr(self, name))
        check_fraction("ema", self.ema)
        if not 0 < self.cap <= 1:
            raise ValueError(f"schedule.cap={self.cap}: must be within (0, 1]")
        if self.every < 1:
            raise ValueError(f"schedule.every={self.every}: must be at least 1")
        if not 0 <= self.trim < 0.5:
            raise ValueError(f"schedule.trim={self.trim}: must be within [0, 0.5)")
        check_range(self.low, self.high)
        self.prior(0)

    def prior(self, step: int) -> float:
        """Alpha of the schedule that it is blended with."""
        ramp = WarmupDecay(
            peak=self.peak,
            valley=self.valley,
            warmup=self.warmup,
            decay=self.decay,
            total_steps=self.total_steps,
        )
        return ramp(step)

    def needs_at(self, step: int) -> frozenset[str]:
        return self.needs if step % self.every == 0 else frozenset()

    def start(self) -> State:
        return {"alpha": clip(self.prior(0), self.low, self.high)}

    def observe(self, state: State, step: int, feedback: Feedback) -> State:
        if not self.needs_at(step):
            return state
        means: State = {}
        for name in sorted(self.needs):
            seen = feedback.read(name)
            means[name] = self.ema * value_of(state, name, otherwise=seen) + (1 - self.ema) * seen
        rl, gap = means["advantage_variance"], means["gap"]
        total = rl + gap + means["nll_variance"]
        best = (self.balance * gap + rl) / total if total > 0 else self.balance
        wanted = self.blend * best + (1 - self.blend) * self.prior(step)
        before = state["alpha"]
        moved = clip(clip(wanted, self.low, self.high), before - self.cap, before + self.cap)
        return {**means, "alpha": moved}

    def __call__(self, step: int, state: State | None = None) -> float:
        return (state or self.start())["alpha"]

    def bounds(self, steps: int) -> tuple[float, float]:
        return self.low, self.high
