"""Losses that are a constant times the log-probability: every token learns, none is clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.losses.objectives.base import (
    Objective,
    check_number,
    count,
    log_ratio,
    per_token,
    ratio_metrics,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Reinforce(Objective):
    """-A log p (Williams, 1992), without ratio and clip, so valid for one update per batch only.

    Metrics: `ratio` and `approx_kl` as in `Grpo`, which show how stale the samples are.
    p = .5, A = 2: loss 2 ln 2 = 1.38629, gradient -2 with respect to log p.
    """

    option = "reinforce"
    proportional = True

    on_policy: ClassVar[bool] = True

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        losses = -per_token(advantages, logprobs) * logprobs.masked_fill(~mask, 0.0)
        metrics = ratio_metrics(log_ratio(logprobs, old_logprobs, mask), mask)
        return losses.masked_fill(~mask, 0.0), metrics


@dataclass(kw_only=True)
class Cispo(Objective):
    """-sg(min(r, ratio_max)) A log p: the ratio is capped and detached, and no token is dropped.

    CISPO (arXiv 2506.13585, eq. 4 and 5, with the token mean and without the lower bound, which the
    paper does not use either). The paper does not give its bound, and implementations differ (1.2
    in verl, 5 in TRL for ScaleRL); 2 is chord's choice. Metrics as in `Grpo`; `clip_fraction`
    counts the tokens whose ratio was capped.

    Raises ValueError for ratio_max < 1, which would scale down even unchanged tokens.
    r = 1.5, A = 2, p = .5: loss 3 ln 2 = 2.07944, gradient -3; r = 5, ratio_max 2: gradient -4.
    """

    option = "cispo"
    proportional = True

    ratio_max: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ratio_max", self.ratio_max, least=1)

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logs = log_ratio(logprobs, old_logprobs, mask)
        ratio = logs.detach().exp()
        capped = ratio.clamp(max=self.ratio_max)
        losses = -capped * per_token(advantages, logprobs) * logprobs.masked_fill(~mask, 0.0)
        metrics = ratio_metrics(logs, mask)
        metrics["clip_fraction"] = count(ratio > self.ratio_max, mask, logprobs)
        return losses.masked_fill(~mask, 0.0), metrics
