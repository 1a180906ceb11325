"""RL objectives: a loss for every token of the policy's own samples.

They return token losses, still to be averaged by `aggregate`, and metrics that are *sums* over the
unmasked tokens, so that pieces and ranks can be added up before dividing by the token count.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chord.losses.aggregation import AGGREGATIONS
from chord.losses.kl import LOG_RATIO_LIMIT, Kl

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Objective(ABC):
    """An RL loss: how its tokens are averaged, and the KL term that goes with it.

    `aggregation`: `token` (mean over the tokens of the whole optimizer step, the paper's),
    `sequence` (mean over responses of their token means) or `constant` (sum over rows times the
    longest response allowed).
    """

    aggregation: str = "token"
    kl: Kl = field(default_factory=Kl)

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"objective.aggregation={self.aggregation}: "
                f"must be one of {', '.join(AGGREGATIONS)}"
            )

    @abstractmethod
    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses (B, T), 0 outside the mask, and metrics summed over the mask, detached.

        logprobs (B, T) of the sampled tokens under the policy, with gradient; old_logprobs (B, T)
        under the policy that sampled them, both at the sampling temperature; advantages (B,) or
        (B, T); mask (B, T) bool. Constants carry no gradient, whatever is passed.
        """


@dataclass(kw_only=True)
class Grpo(Objective):
    """-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), r = exp(clamp(log p - log p_old, +-20)).

    The clipped surrogate of GRPO (arXiv 2402.03300, eq. 3; 2508.11408, eq. 2) without a dual clip.
    With one update per batch r = 1: the gradient is REINFORCE's. Metrics: `ratio`, `approx_kl`
    (k3 of KL(old || policy)), `clip_fraction` (tokens whose clipped term is the smaller one).

    Raises ValueError for clip_low outside [0, 1] or clip_high < 0.
    r = 1.5, clip .2: loss -1.2 for A = 1 (clipped, no gradient), 1.5 for A = -1.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.clip_low <= 1:
            raise ValueError(f"objective.clip_low={self.clip_low}: must be within [0, 1]")
        if not (self.clip_high >= 0 and math.isfinite(self.clip_high)):
            raise ValueError(f"objective.clip_high={self.clip_high}: must be a number >= 0")

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        log_ratio = _log_ratio(logprobs, old_logprobs, mask)
        ratio = log_ratio.exp()
        scale = _per_token(advantages, logprobs)
        plain = ratio * scale
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * scale
        metrics = _ratio_metrics(log_ratio, mask)
        metrics["clip_fraction"] = ((clipped < plain) & mask).sum().to(logprobs.dtype)
        return -plain.minimum(clipped).masked_fill(~mask, 0.0), metrics


@dataclass(kw_only=True)
class Reinforce(Objective):
    """-A log p (Williams, 1992): no ratio and no clip, so meant for one update per batch.

    Metrics: `ratio` and `approx_kl` as in `Grpo`, to show how far the samples have aged.
    p = .5, A = 2: loss 2 ln 2 = 1.38629, gradient -2 with respect to log p.
    """

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        losses = -_per_token(advantages, logprobs) * logprobs.masked_fill(~mask, 0.0)
        metrics = _ratio_metrics(_log_ratio(logprobs, old_logprobs, mask), mask)
        return losses.masked_fill(~mask, 0.0), metrics


def _log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Clamped log p - log p_old, 0 outside the mask: there even -inf - -inf must not hurt."""
    difference = (logprobs - old_logprobs.detach()).masked_fill(~mask, 0.0)
    return difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _per_token(advantages: Tensor, logprobs: Tensor) -> Tensor:
    values = advantages.detach().to(logprobs.dtype)
    return values.unsqueeze(-1) if values.dim() < logprobs.dim() else values


def _ratio_metrics(log_ratio: Tensor, mask: Tensor) -> dict[str, Tensor]:
    detached = log_ratio.detach()
    ratio = detached.exp()
    return {
        "ratio": ratio.masked_fill(~mask, 0.0).sum(),
        "approx_kl": (detached.expm1() - detached).sum(),
    }
