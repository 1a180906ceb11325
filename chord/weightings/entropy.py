"""Weights that read the policy's uncertainty at the token, not the token itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.weightings.base import Weighting, WeightInputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Entropy(Weighting):
    """w = H(P) / ln V: strong where the policy is unsure; from the unified objective.

    P = (.5, .5) over two tokens gives 1, (1, 0) gives 0.
    """

    def raw(self, at: WeightInputs) -> Tensor:
        return at.policy.relative_entropy
