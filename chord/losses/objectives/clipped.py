"""Surrogates that stop learning from a token or response once its probability has moved enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.losses.kl import LOG_RATIO_LIMIT
from chord.losses.objectives.base import (
    Objective,
    check_number,
    count,
    difference,
    log_ratio,
    per_token,
    ratio_metrics,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Clipped(Objective):
    """Objectives with a ratio clipped to [1 - clip_low, 1 + clip_high].

    Raises ValueError for clip_low outside [0, 1] or clip_high < 0.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.clip_low <= 1:
            raise ValueError(f"objective.clip_low={self.clip_low}: must be within [0, 1]")
        check_number("clip_high", self.clip_high, least=0)

    def clip(self, ratio: Tensor) -> Tensor:
        """The ratio within its bounds."""
        return ratio.clamp(1 - self.clip_low, 1 + self.clip_high)


@dataclass(kw_only=True)
class Grpo(Clipped):
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = exp(clamp(log p - log p_old, +-20)).

    The clipped surrogate of GRPO (arXiv 2402.03300, eq. 3, which averages over responses, adds k3
    and gives no value for the clip; 2508.11408, eq. 2, over tokens and without KL). With one update
    per batch r = 1 and the gradient is that of REINFORCE. Metrics: `ratio`, `approx_kl` (k3 of
    KL(old || policy)), `clip_fraction` (tokens whose clipped term is the smaller one).

    For A < 0, the loss grows with r without limit. Two published options bound it; a token at the
    bound has no gradient. `dual_clip` = c: the surrogate is max(min(r A, clip(r) A), c A) where A <
    0 (arXiv 1912.09729, dual-clip PPO; c = 3 in verl), with the metric `dual_clip_fraction`.
    `delta`: r in the first term is at most delta (arXiv 2505.07291, section 4.1, delta 4 with a
    clip of .2; TRL's option of that name). With equal bounds, both are the same function, because
    delta > 1 + clip_high has no effect where A > 0. Giving both is refused, because the larger one
    would have no effect.

    Raises ValueError for clips as in `Clipped`, dual_clip <= 1, delta <= 1 + clip_high.
    r = 1.5, clip .2: loss -1.2 for A = 1 (clipped, no gradient), 1.5 for A = -1; r = 5, A = -1:
    5, and 3 with dual_clip=3 or delta=3.
    """

    option = "grpo"
    proportional = True

    dual_clip: float | None = None
    delta: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        c, delta = self.dual_clip, self.delta
        if c is not None and not (c > 1 and math.isfinite(c)):
            raise ValueError(f"objective.dual_clip={c}: must be a number > 1, or null")
        if delta is not None and not (delta > 1 + self.clip_high and math.isfinite(delta)):
            raise ValueError(
                f"objective.delta={delta}: must be a number > 1 + objective.clip_high = "
                f"{1 + self.clip_high:g}, or null"
            )
        if c is not None and delta is not None:
            raise ValueError(
                f"objective.delta={delta}: must be null with objective.dual_clip={c}; both cap the "
                "ratio where A < 0, the larger one would do nothing"
            )

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logs = log_ratio(logprobs, old_logprobs, mask)
        ratio = logs.exp()
        scale = per_token(advantages, logprobs)
        plain = (ratio if self.delta is None else ratio.clamp(max=self.delta)) * scale
        clipped = self.clip(ratio) * scale
        surrogate = plain.minimum(clipped)
        metrics = ratio_metrics(logs, mask)
        metrics["clip_fraction"] = count(clipped < plain, mask, logprobs)
        if self.dual_clip is not None:
            floor = self.dual_clip * scale
            held = (scale < 0) & (surrogate < floor)
            surrogate = surrogate.where(~held, floor)
            metrics["dual_clip_fraction"] = count(held, mask, logprobs)
        return -surrogate.masked_fill(~mask, 0.0), metrics


@dataclass(kw_only=True)
class Gspo(Clipped):
    """-min(s A, clip(s, 1 - clip_low, 1 + clip_high) A) with one ratio s for a whole response.

    s = exp(mean over the response's tokens of log p - log p_old), with the exponent clamped to
    +-20: GSPO (arXiv 2507.18071, eq. 5 and 7; clips 3e-4 and 4e-4, section 5.1). The gradient flows
    through s to all tokens of the response, -s A / length each, so a response is clipped as a
    whole. Every token carries its response's loss, so `aggregation=sequence`, as in the paper, is
    the mean over responses. With advantages (B, T), each token's own A is multiplied by the
    response's s, and the gradient is that of their mean; the paper's GSPO-token is a different loss
    in that case.

    Metrics as in `Grpo`, `ratio` and `clip_fraction` those of s, counted by tokens.
    Two tokens with log-ratios .1 and .3, A = 1, wide clips: s = e^.2 = 1.22140, loss -1.22140,
    gradient -.61070 on each. With the clips of the paper: loss -1.0004, no gradient.
    """

    option = "gspo"
    proportional = True

    aggregation: str = "sequence"
    clip_low: float = 3e-4
    clip_high: float = 4e-4

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        length = mask.sum(dim=-1, keepdim=True).clamp(min=1)
        mean = difference(logprobs, old_logprobs, mask).sum(dim=-1, keepdim=True) / length
        logs = mean.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        ratio = logs.exp().expand(mask.shape)
        scale = per_token(advantages, logprobs)
        plain, clipped = ratio * scale, self.clip(ratio) * scale
        metrics = ratio_metrics(log_ratio(logprobs, old_logprobs, mask), mask)
        metrics["ratio"] = ratio.detach().masked_fill(~mask, 0.0).sum()
        metrics["clip_fraction"] = count(clipped < plain, mask, logprobs)
        return -plain.minimum(clipped).masked_fill(~mask, 0.0), metrics
