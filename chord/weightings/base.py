"""What every token weighting shares: masking, normalisation, and no gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice
from chord.weightings.stats import TokenStats, weight_mean

if TYPE_CHECKING:
    from torch import Tensor

NORMALIZE = ("none", "mean1")
APPLY_TO = ("sft", "both")


class WeightError(ValueError):
    """A weighting gave a weight that is negative or not finite."""


@dataclass(kw_only=True)
class WeightInputs:
    """The inputs of a rule at the targets of some rows, each (B, T) and read without gradient.

    `mask` is True on the tokens that count; elsewhere the other tensors can hold anything.
    `expert`, `reference` (log p of the target under the frozen reference) and `signal` (in [0, 1],
    one for each row or one for each token) are given to rules that declare that they need them.
    """

    policy: TokenStats
    mask: Tensor
    expert: TokenStats | None = None
    reference: Tensor | None = None
    signal: Tensor | None = None

    @property
    def p(self) -> Tensor:
        """The policy's probability of the target token."""
        return self.policy.logprobs.exp().clamp(max=1.0)

    @property
    def finite(self) -> Tensor:
        """Where all models' statistics of a token are finite, (B, T) bool."""
        tables = [self.policy.logprobs, self.policy.entropy, self.policy.max_prob]
        if self.expert is not None:
            tables += [self.expert.logprobs, self.expert.entropy, self.expert.max_prob]
        if self.reference is not None:
            tables.append(self.reference)
        finite = tables[0].isfinite()
        for table in tables[1:]:
            finite = finite & table.isfinite()
        return finite


@dataclass(kw_only=True)
class Weighting(ABC):
    """A rule for token weights: a dataclass of its settings with a method `raw`.

    `normalize`: `none`, or `mean1` to divide by the mean over all expert tokens of the optimizer
    step, so that any two rules have the same total weight. `apply_to`: `sft`, or `both` to scale
    the RL term as well, by the same function of the policy's own tokens.
    """

    needs_signal: ClassVar[bool] = False
    """Whether the rule reads the verifier's score of the response."""
    needs_reference: ClassVar[bool] = False
    """Whether the rule reads the reference, a frozen copy of the base."""
    ranks_tokens: ClassVar[bool] = False
    """Whether a token's weight depends on the other tokens of the step."""

    normalize: str = "none"
    apply_to: str = "sft"

    def __post_init__(self) -> None:
        check_choice("weighting.normalize", self.normalize, NORMALIZE)
        check_choice("weighting.apply_to", self.apply_to, APPLY_TO)

    @property
    def needs_teacher(self) -> bool:
        """Whether the rule reads the distribution of a teacher."""
        return False

    @property
    def top_k(self) -> int | None:
        """The K of `TokenStats.top_k_entropy`, if the rule reads it."""
        return None

    @property
    def uses_step(self) -> bool:
        """Whether a weight depends on all tokens of the optimizer step."""
        return self.normalize == "mean1" or self.ranks_tokens

    @property
    def note(self) -> str | None:
        """What a user should know before the first step."""
        return None

    @abstractmethod
    def raw(self, at: WeightInputs) -> Tensor:
        """Weights for every position, masked or not, before `normalize`."""

    def __call__(
        self,
        policy: TokenStats,
        mask: Tensor,
        *,
        expert: TokenStats | None = None,
        reference: Tensor | None = None,
        signal: Tensor | None = None,
    ) -> Tensor:
        """Weights (..., T) for the targets, 0 outside `mask`, without gradient.

        `expert`: the teacher's statistics at the same positions, for rules with `needs_teacher`.
        `reference`: log p of the targets under the reference model, for rules with
        `needs_reference`. `signal`: (...) one value in [0, 1] for each row, or one for each token,
        for rules with `needs_signal`. If the rule `uses_step`, its statistics are taken over this
        call's tokens, which is right only if these are all tokens of the optimizer step on all
        ranks (`StepWeights` ensures that). A mean of 0 leaves the weights at 0.

        Raises ValueError if a needed input is missing, and `WeightError` for a weight below 0 or
        one that is not finite although the models' statistics are. `Phi(normalize="mean1")` on p =
        .5 and .9: raw .25 and .09, mean .17, weights 1.47 and .53.
        """
        # Here and below: torch takes seconds to load, and settings are read without it.
        import torch

        at = WeightInputs(
            policy=policy, mask=mask, expert=expert, reference=reference, signal=signal
        )
        # Every rule's weights are detached here, and only here.
        with torch.no_grad():
            weights = self.raw(at).masked_fill(~mask, 0.0)
            self._check(weights, at)
            if self.normalize == "none":
                return weights
            mean = weight_mean(weights, mask)
            return weights / mean.masked_fill(mean <= 0, math.inf)

    def _check(self, weights: Tensor, at: WeightInputs) -> None:
        """A token with a negative weight would be unlearned, and NaN spreads to every parameter."""
        # Comparisons with NaN are False.
        wrong = (~(weights >= 0) | weights.isinf()) & at.mask
        if not bool(wrong.any()):
            return
        # If a model's statistics are not finite, the rule is not at fault: the step reports those.
        wrong &= at.finite
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            p = float(at.p[tuple(place)])
            raise WeightError(
                f"weighting: {type(self).__name__} gave the weight {float(weights[tuple(place)]):g}"
                f" to a token with p = {p:.3g} (row {place[0]}); a weight must be finite and at "
                "least 0"
            )


def check_range(
    name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False
) -> None:
    """Raise ValueError for a number outside [low, high], or outside (low, high] if `open_low`."""
    if math.isfinite(value) and low <= value <= high and not (open_low and value == low):
        return
    above = f"above {low:g}" if open_low else f"at least {low:g}"
    allowed = above if math.isinf(high) else f"{above} and at most {high:g}"
    raise ValueError(f"weighting.{name}={value}: must be a number {allowed}")
