"""KL terms between the policy pi and another model, for each token given its prefix.

Samples come from pi. Used as a loss, only the estimator k2 has the gradient of KL(pi || ref): the
gradient of k1 has mean zero, and that of k3 is the gradient of KL(ref || pi). For the KL of whole
sequences, k1 goes into the reward. Hence the setting `where`, and hence k1 is refused in the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.errors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

MODELS = ("reference", "teacher")
ESTIMATORS = ("k1", "k2", "k3", "exact")
DIRECTIONS = ("from_policy", "to_policy")
PLACES = ("loss", "reward")
LOG_RATIO_LIMIT = 20.0


@dataclass(kw_only=True)
class Kl:
    """A KL penalty on the policy's own samples.

    `coef`: its weight; 0 switches it off. `to`: the other model, the `reference` (a frozen copy of
    the base) or the `teacher`. `estimator`: k1, k2 or k3 from the log-probabilities of the sampled
    tokens, or `exact` over the vocabulary. `direction`: `from_policy` is KL(pi || other),
    `to_policy` is KL(other || pi) and needs `exact`. `where`: added to the token losses (`loss`),
    or subtracted from the response's `reward`.

    Raises ValueError naming the setting; combinations are checked only if `coef` is above 0. The
    unified objective's intended term is
    `Kl(coef=0.1, to="teacher", estimator="exact", direction="to_policy", where="loss")`.
    """

    coef: float = 0.0
    to: str = "reference"
    estimator: str = "k2"
    direction: str = "from_policy"
    where: str = "loss"

    def __post_init__(self) -> None:
        if not (self.coef >= 0 and math.isfinite(self.coef)):
            raise ValueError(f"objective.kl.coef={self.coef}: must be a number >= 0")
        check_choice("objective.kl.to", self.to, MODELS)
        check_choice("objective.kl.estimator", self.estimator, ESTIMATORS)
        check_choice("objective.kl.direction", self.direction, DIRECTIONS)
        check_choice("objective.kl.where", self.where, PLACES)
        if self.coef == 0:
            return  # a sweep may include 0, and without a penalty no combination is wrong
        if self.estimator == "k1" and self.where == "loss":
            raise ValueError(
                "objective.kl.estimator=k1: its gradient as a loss is zero; "
                "use k2 or exact, or objective.kl.where=reward"
            )
        if self.direction == "to_policy" and self.estimator != "exact":
            raise ValueError(
                "objective.kl.direction=to_policy: needs objective.kl.estimator=exact, "
                f"not {self.estimator}"
            )

    @property
    def in_reward(self) -> bool:
        """Whether the penalty is subtracted from the rewards."""
        return self.coef > 0 and self.where == "reward"

    @property
    def needs_logits(self) -> bool:
        """Whether `__call__` takes logits (..., T, V) instead of log-probabilities (..., T)."""
        return self.estimator == "exact"

    def __call__(self, policy: Tensor, other: Tensor) -> Tensor:
        """KL of each token (..., T), without `coef`, from logits or token log-probabilities.

        It has a gradient to `policy` as a loss, and none in the reward; `other` is always a
        constant. The caller has to mask padding.
        """
        other = other.detach()
        if self.where == "reward":
            policy = policy.detach()
        if self.needs_logits:
            return kl_exact(policy, other, direction=self.direction)
        return kl_estimate(policy, other, estimator=self.estimator)


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, *, estimator: str) -> Tensor:
    """Estimate of KL(pi || ref) from tokens sampled from pi; all tensors have the same shape.

    With l = log pi - log ref: k1 = l is unbiased but can be negative; k2 = l^2 / 2 is biased but
    has the right gradient; k3 = exp(-l) - 1 + l is unbiased and >= 0, with the gradient of KL(ref
    || pi) (http://joschu.net/blog/kl-approx.html). l is clamped to [-20, 20].

    pi = .5, ref = .25, l = ln 2: k1 = .69315, k2 = .24023, k3 = .5 - 1 + .69315 = .19315.
    """
    log_ratio = (logprobs - ref_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    assert estimator == "k3", f"kl_estimate knows k1, k2 and k3, not {estimator}"
    return (-log_ratio).expm1() + log_ratio


def kl_exact(logits: Tensor, ref_logits: Tensor, *, direction: str = "from_policy") -> Tensor:
    """KL of the two softmax distributions over the last dimension: logits (..., V) -> (...).

    `from_policy`: KL(pi || ref) = sum pi (log pi - log ref); `to_policy`: KL(ref || pi).
    pi = (.5, .5), ref = (.75, .25): from_policy .5 ln(2/3) + .5 ln 2 = .14384, to_policy
    .75 ln 1.5 + .25 ln .5 = .13081.
    """
    check_choice("objective.kl.direction", direction, DIRECTIONS)
    first, second = logits.log_softmax(dim=-1), ref_logits.log_softmax(dim=-1)
    if direction == "to_policy":
        first, second = second, first
    probabilities = first.exp()
    # A token with probability 0 under `first` adds 0, whatever `second` is: 0 (-inf - x) is NaN.
    gap = (first - second).masked_fill(probabilities == 0, 0.0)
    return (probabilities * gap).sum(dim=-1)
