"""Weights that are a function of p, the policy's probability of the target token.

If a paper gives a loss f(p) instead of a weight, w is -df / d(log p), detached: its loss has the
same gradient as f(p).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.errors import check_choice
from chord.weightings.base import Weighting, WeightInputs, check_range

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Uniform(Weighting):
    """w = 1: plain SFT."""

    option = "uniform"

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p.new_ones(at.p.shape)


@dataclass(kw_only=True)
class Phi(Weighting):
    """w = p (1 - p): CHORD-phi (arXiv 2508.11408, eqs. 5-6), small for p near 0 and near 1.

    p = .01 / .1 / .5 / .9 give .0099 / .09 / .25 / .09.
    """

    option = "phi"

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p * (1.0 - at.p)


@dataclass(kw_only=True)
class Importance(Weighting):
    """w = p: SFT-IS, which takes the expert's probability of its own token as 1.

    arXiv 2508.11408, eq. 4; also known as DFT (2508.05629). p = .1 gives .1.
    """

    option = "importance"

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p


@dataclass(kw_only=True)
class ImportanceClip(Weighting):
    """w = p if p <= bound, else 0 (`drop`) or the bound (`cap`): CHORD's "IS clip".

    arXiv 2508.11408, appendix B.2, bound .4; the paper does not say which of the two it means.
    Raises ValueError for a bound outside (0, 1]. p = .25 gives .25; p = .5 gives 0, or .4 with
    `cap`.
    """

    option = "importance_clip"

    bound: float = 0.4
    above: str = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bound", self.bound, 0, 1, open_low=True)
        check_choice("weighting.above", self.above, ("drop", "cap"))

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p.where(at.p <= self.bound, 0.0 if self.above == "drop" else self.bound)


@dataclass(kw_only=True)
class Focal(Weighting):
    """w = (1 - p)^gamma: CHORD's focal variant, large where the token is improbable.

    arXiv 2508.11408, appendix B.2, which gives no gamma; 2 is that of the focal loss (1708.02002,
    section 3.2). Raises ValueError for gamma < 0. p = .1 gives .81, p = .9 gives .01.
    """

    option = "focal"

    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("gamma", self.gamma, 0)

    def raw(self, at: WeightInputs) -> Tensor:
        return (1.0 - at.p) ** self.gamma


@dataclass(kw_only=True)
class Luffy(Weighting):
    """w = gamma p / (p + gamma)^2, at most 1/4, reached at p = gamma: LUFFY's policy shaping.

    arXiv 2504.14945, section 3.2 (2.3 in v1): -f(p) with f(p) = p / (p + gamma) replaces log p; its
    public code has the same f ("p_div_p_0.1"). This is only LUFFY's weight, without the advantage.
    Raises ValueError for gamma <= 0. gamma .1: p = .1 gives .25, p = .5 gives .1389.
    """

    option = "luffy"

    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("gamma", self.gamma, 0, open_low=True)

    def raw(self, at: WeightInputs) -> Tensor:
        return self.gamma * at.p / (at.p + self.gamma) ** 2


@dataclass(kw_only=True)
class TrustRegion(Weighting):
    """w = min(1, p / a): TRAPO's TrSFT, unweighted SFT for p >= a and a smaller weight below.

    arXiv 2512.17636 (TrSFT); its public code has p / max(p, .1) with a detached denominator
    ("clip_low"), which is this weight. Raises ValueError for a outside (0, 1]. a = .1: p = .01
    gives .1, p = .5 gives 1.
    """

    option = "trust_region"

    a: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("a", self.a, 0, 1, open_low=True)

    def raw(self, at: WeightInputs) -> Tensor:
        return (at.p / self.a).clamp(max=1.0)


@dataclass(kw_only=True)
class Power(Weighting):
    """w = p^q: unweighted SFT at q = 0, `importance` at q = 1; larger q favours likelier tokens.

    arXiv 2510.00526: the loss (1 - p^q) / q of its general family ("GeneralFamily" in its public
    code). The default .5 is chord's. Raises ValueError for q < 0. q = .5: p = .01 gives .1.
    """

    option = "power"

    q: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("q", self.q, 0)

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p**self.q


@dataclass(kw_only=True)
class Threshold(Weighting):
    """w = 1 where p >= bound (`side=above`) or p <= bound (`side=below`), else 0.

    arXiv 2510.00526, thresholded log-likelihood ("OnlyTopLogP" and "OnlyBottomLogP" in its public
    code, which also includes the bound itself); the default bound .2 is chord's. Raises ValueError
    for a bound outside [0, 1]. p = .1 gives 0, p = .5 gives 1.
    """

    option = "threshold"

    bound: float = 0.2
    side: str = "above"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bound", self.bound, 0, 1)
        check_choice("weighting.side", self.side, ("above", "below"))

    def raw(self, at: WeightInputs) -> Tensor:
        kept = at.p >= self.bound if self.side == "above" else at.p <= self.bound
        return kept.to(at.p.dtype)


@dataclass(kw_only=True)
class RlPlus(Weighting):
    """w = 2 p sqrt(1 - p) / (1.5 p + .5): RL-PLUS, small for p near 0 and near 1.

    arXiv 2508.00222: the ratio 2 p / (p_old + (p_old + 1) / 2) of its multiple importance sampling
    at p_old = p, times sqrt(1 - p) from its exploration-based advantage, which is (1 - p)^gamma
    with gamma .5 in its public code (commit eb4aa4d). The group's advantage is not part of the
    weight. p = .5 gives .5657.
    """

    option = "rlplus"

    def raw(self, at: WeightInputs) -> Tensor:
        return 2.0 * at.p * (1.0 - at.p).sqrt() / (1.5 * at.p + 0.5)
