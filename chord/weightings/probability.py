"""Weights that are a function of p, the policy's probability of the target token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.weightings.base import Weighting, WeightInputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Uniform(Weighting):
    """w = 1: plain SFT."""

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p.new_ones(at.p.shape)


@dataclass(kw_only=True)
class Phi(Weighting):
    """w = p (1 - p): CHORD-phi (arXiv 2508.11408, eqs. 5-6), small for both sure and hopeless p.

    p = .01 / .1 / .5 / .9 give .0099 / .09 / .25 / .09.
    """

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p * (1.0 - at.p)


@dataclass(kw_only=True)
class Importance(Weighting):
    """w = p: SFT-IS, the expert's probability of its own token taken as 1.

    arXiv 2508.11408, eq. 4; also known as DFT (2508.05629). p = .1 gives .1.
    """

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p
