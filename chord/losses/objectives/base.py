"""What every RL objective has: the averaging of its tokens, an entropy bonus, a KL term."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice
from chord.losses.aggregation import AGGREGATIONS
from chord.losses.kl import LOG_RATIO_LIMIT, Kl

if TYPE_CHECKING:
    from torch import Tensor

OVERLONG = ("keep", "mask")


@dataclass(kw_only=True)
class Objective(ABC):
    """An RL loss: how its tokens are averaged, and the terms that go with it.

    `aggregation`: `token` (mean over all tokens of the optimizer step, as in the paper), `sequence`
    (mean over responses of their token means) or `constant` (the sum over tokens, divided by the
    number of rows times the longest response allowed).

    `entropy_coef`: the loss of each token is lowered by `entropy_coef` times the policy's entropy
    there, at the sampling temperature, with gradient; averaged like the rest.
    `overlong`: `mask` removes responses that were cut off from the loss and its denominator,
    whatever their reward (DAPO, arXiv 2503.14476, section 3.4); `keep` keeps them.
    `resample`: the largest number of extra rounds of problems that are sampled to fill the batch
    with groups that have a signal (DAPO's dynamic sampling, section 3.2, which has no limit); 0
    takes the first round as it is.

    Raises ValueError naming the setting.
    """

    on_policy: ClassVar[bool] = False
    """Whether it is right only for samples of the current policy, as it has no importance ratio."""
    proportional: ClassVar[bool] = False
    """Whether a token whose advantage is 0 has no gradient, so that it needs no backward pass."""

    aggregation: str = "token"
    entropy_coef: float = 0.0
    overlong: str = "keep"
    resample: int = 0
    kl: Kl = field(default_factory=Kl)

    def __post_init__(self) -> None:
        check_choice("objective.aggregation", self.aggregation, AGGREGATIONS)
        check_number("entropy_coef", self.entropy_coef, least=0)
        check_choice("objective.overlong", self.overlong, OVERLONG)
        if self.resample < 0:
            raise ValueError(f"objective.resample={self.resample}: must be a whole number >= 0")

    @abstractmethod
    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses (B, T), 0 outside the mask, and detached metrics summed over the mask.

        logprobs (B, T): of the sampled tokens under the policy, with gradient; old_logprobs (B, T):
        under the policy that sampled them; both at the sampling temperature. advantages (B,) or
        (B, T); mask (B, T) bool. old_logprobs and advantages are treated as constants.
        """


def token_entropy(logits: Tensor) -> Tensor:
    """H = -sum p log p of softmax(logits) over the last dimension, with gradient, in nats.

    logits (..., V), already divided by the temperature, to (...). The bonus uses the *sampling*
    temperature, because it is meant to keep the spread of the distribution that rollouts are drawn
    from and ratios are computed with. Logits (0, 0): ln 2; (ln 3, 0): .56234.
    """
    logprobs = logits.log_softmax(dim=-1)
    probabilities = logprobs.exp()
    # An excluded token, with log p = -inf, adds 0 and has no gradient: 0 (-inf) would be NaN.
    return -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum(dim=-1)


def group_signal(rewards: Tensor) -> Tensor:
    """Which groups have a signal: rewards (P problems, K responses) to (P,) bool.

    False if the largest reward equals the smallest (compared, not subtracted): every group-relative
    advantage is 0 then (DAPO, arXiv 2503.14476, eq. 11, for right and wrong).
    ((1, 1), (0, 1)) gives (False, True).
    """
    return rewards.amax(dim=-1) != rewards.amin(dim=-1)


def log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log p - log p_old clamped to +-20; 0 outside the mask, where even -inf - -inf is harmless."""
    return difference(logprobs, old_logprobs, mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def difference(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log p - log p_old, not clamped; 0 outside the mask."""
    return (logprobs - old_logprobs.detach()).masked_fill(~mask, 0.0)


def per_token(advantages: Tensor, logprobs: Tensor) -> Tensor:
    """Advantages (B,) or (B, T) as constants that broadcast over log-probabilities (B, T)."""
    values = advantages.detach().to(logprobs.dtype)
    return values.unsqueeze(-1) if values.dim() < logprobs.dim() else values


def ratio_metrics(ratios: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Sums of r and of r - 1 - ln r from clamped log-ratios (B, T), 0 outside the mask."""
    detached = ratios.detach()
    return {
        "ratio": detached.exp().masked_fill(~mask, 0.0).sum(),
        "approx_kl": (detached.expm1() - detached).sum(),
    }


def count(tokens: Tensor, mask: Tensor, logprobs: Tensor) -> Tensor:
    """Number of True tokens within the mask, in the dtype of the other metrics."""
    return (tokens & mask).sum().to(logprobs.dtype)


def check_number(name: str, value: float, *, least: float) -> None:
    """Raise ValueError unless the value is a finite number >= `least`."""
    if not (value >= least and math.isfinite(value)):
        raise ValueError(f"objective.{name}={value}: must be a number >= {least:g}")
