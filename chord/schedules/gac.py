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
    """GAC (arXiv 2605.26184): the alpha that minimises a bound on the gradient's squared error.

    A mixed gradient alpha g_s + (1 - alpha) g_r that stands for `balance` g_s + (1 - balance) g_r
    has variance alpha^2 s_s^2 + (1 - alpha)^2 s_r^2 and squared bias (alpha - balance)^2 D^2. Their
    sum is smallest at

        best = (balance D^2 + s_r^2) / (D^2 + s_s^2 + s_r^2)

    At each step that is a multiple of `every`, the three statistics are measured on this step's
    rows of all ranks and averaged, m <- ema m + (1 - ema) x, starting at the first measurement.
    Then alpha moves by at most `cap` towards

        clip(blend best + (1 - blend) prior(step), low, high)

    where the prior is `WarmupDecay(peak, valley, warmup, decay)`. alpha starts at the clipped
    prior. If all three are 0, best is `balance`. The statistics are (see `chord.step.feedback`):

    - s_r^2 `advantage_variance`: population variance over the advantages of the policy's own
      responses to all problems drawn, one for each response.
    - s_s^2 `nll_variance`: population variance over the expert responses' mean -log p per token at
      T = 1, without the share `trim` of responses at each end.
    - D^2 `gap`: mean of (w - A)^2 over all pairs of an expert token, with its weight w, and a
      rollout token, with its advantage A: the factors of -grad log p in the two branches.

    Checked against the authors' controller (huyuelin/GAC): `best`, both variances, the averages of
    the statistics, the blend, the prior's form and the defaults are the same. In the authors' code,
    however, alpha starts at .5; `best` is averaged with alpha once more, with weight `ema`, before
    the blend; alpha moves in every step; a KL target can adjust `balance`; and D^2 is, without
    pairs, the mean over responses of (p (1 - p))^2 on expert tokens and (p (1 - p) - A)^2 on own
    ones. That the prior's 200 and 800 steps are .2 and .8 of a run is our interpretation. Raises
    ValueError naming the setting that is out of range. D^2 = 1, s_s^2 = 2, s_r^2 = 1 give
    best = 1.5/4 = .375.
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
        """Alpha of the prior at a step."""
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
