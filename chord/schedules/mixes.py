"""Mixes: from alpha to the shares of the two branches.

`convex` is CHORD's. `additive` keeps the whole RL loss and adds SFT to it, as PPO-ptx and other
methods with an auxiliary likelihood term do.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple


class Shares(NamedTuple):
    """Factors of the two branches' losses; a branch with factor 0 is not computed."""

    sft: float
    rl: float


@dataclass(kw_only=True)
class Mix(ABC):
    """A rule for the shares of the two branches, given the schedule's alpha in [0, 1]."""

    @abstractmethod
    def __call__(self, alpha: float) -> Shares:
        """The two factors, each >= 0."""


@dataclass(kw_only=True)
class Convex(Mix):
    """alpha SFT + (1 - alpha) RL (CHORD, arXiv 2508.11408, eq. 3).

    `Convex()(0.25)` is (.25, .75).
    """

    option = "convex"

    def __call__(self, alpha: float) -> Shares:
        return Shares(alpha, 1 - alpha)


@dataclass(kw_only=True)
class Additive(Mix):
    """coef alpha SFT + RL: SFT is added to the whole RL loss (a gate still takes its part of RL).

    With alpha = 1 throughout, this is the form of PPO-ptx (Ouyang et al. 2022, arXiv 2203.02155,
    eq. 2), whose second term is the likelihood of other data times a coefficient.
    Raises ValueError for a coefficient that is not a number >= 0.
    `Additive(coef=0.5)(1.0)` is (.5, 1).
    """

    option = "additive"

    coef: float = 1.0

    def __post_init__(self) -> None:
        if not (self.coef >= 0 and math.isfinite(self.coef)):
            raise ValueError(f"mix.coef={self.coef}: must be a number >= 0")

    def __call__(self, alpha: float) -> Shares:
        return Shares(self.coef * alpha, 1.0)
