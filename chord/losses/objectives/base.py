"""What every RL objective has: how its tokens are averaged, its entropy bonus, its KL term."""

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

    `aggregation`: `token` (mean over the tokens of the whole optimizer step, the paper's),
    `sequence` (mean over responses of their token means) or `constant` (sum over rows times the
    longest response allowed).

    `entropy_coef`: the loss of each token is lowered by `entropy_coef *` the entropy of the policy
    there, at the sampling temperature, with gradient; averaged like the rest.
    `overlong`: `mask` takes answers that were cut off out of the loss and its count, whatever
    their reward says (DAPO, arXiv 2503.14476, section 3.4); `keep` leaves them.
    `resample`: how many further rounds of problems may be answered until the batch is full of
    groups with signal (DAPO's dynamic sampling, section 3.2, which has no limit); 0 takes the
    first round as it is.

    Raises ValueError naming the setting.
    """

    on_policy: ClassVar[bool] = False
    """Whether it is right for samples of the policy as it is alone, having no importance ratio."""

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
        """Losses (B, T), 0 outside the mask, and metrics summed over the mask, detached.

        logprobs (B, T) of the sampled tokens under the policy, with gradient; old_logprobs (B, T)
        under the policy that sampled them, both at the sampling temperature; advantages (B,) or
        (B, T); mask (B, T) bool. Constants carry no gradient, whatever is passed.
        """


def token_entropy(logits: Tensor) -> Tensor:
    """H = -sum p log p of softmax(logits) over the last dimension, with gradient, in nats.

    logits (..., V), already divided by the temperature, to (...). The bonus is that of the
    *sampling* temperature: it is the spread of this distribution, the one rollouts are drawn from
    and ratios are formed with, that has to be kept. Logits (0, 0): ln 2; (ln 3, 0): .56234.
    """
    logprobs = logits.log_softmax(dim=-1)
    probabilities = logprobs.exp()
    # A token that is excluded, at log p = -inf, adds 0 and has no gradient: 0 (-inf) would be NaN.
    return -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum(dim=-1)


def group_signal(rewards: Tensor) -> Tensor:
    """Which groups can teach something: (P problems, K answers) to (P,) bool.

    False where the largest reward equals the smallest, compared and not subtracted: every
    group-relative advantage is 0 there (DAPO, arXiv 2503.14476, eq. 11, for right and wrong).
    ((1, 1), (0, 1)) gives (False, True).
    """
    return rewards.amax(dim=-1) != rewards.amin(dim=-1)


def log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log p - log p_old within +-20, 0 outside the mask, where even -inf - -inf is harmless."""
    return difference(logprobs, old_logprobs, mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def difference(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """log p - log p_old as it is, 0 outside the mask."""
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
    """Number of true tokens within the mask, in the dtype of the other metrics."""
    return (tokens & mask).sum().to(logprobs.dtype)


def check_number(name: str, value: float, *, least: float) -> None:
    """Refuse what is no finite number >= `least`."""
    if not (value >= least and math.isfinite(value)):
        raise ValueError(f"objective.{name}={value}: must be a number >= {least:g}")
