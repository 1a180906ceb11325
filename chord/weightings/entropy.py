"""Weights that read the policy's uncertainty at the token, not the token itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice
from chord.weightings.base import Weighting, WeightInputs, check_range
from chord.weightings.stats import row_mean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Entropy(Weighting):
    """w = H(P) / ln V: large where the policy is uncertain; from the unified objective.

    CHORD's "entropy norm" (arXiv 2508.11408, appendix B.2) is proportional to H as well.
    P = (.5, .5) over two tokens gives 1, (1, 0) gives 0.
    """

    option = "entropy"

    def raw(self, at: WeightInputs) -> Tensor:
        return at.policy.relative_entropy


@dataclass(kw_only=True)
class TopEntropy(Weighting):
    """w = 1 on the share `rho` of the step's tokens with the highest entropy, else 0.

    CHORD's "entropy top" (arXiv 2508.11408, appendix B.2, rho .05) and Prefix-RFT's choice of
    prefix tokens (2507.01679, rho .2; its code ranks the tokens of a micro-batch). Chooses ceil(rho
    N) of the step's N tokens on all ranks. If entropies are equal to five decimals, the earlier
    row, then the earlier token is chosen, which is chord's rule: the first tokens of a group's
    responses, for example, have equal entropies except for rounding, which depends on how the step
    is cut. Raises ValueError for rho outside (0, 1]. Entropies (.1, .6, .3, .6) and rho .25 give
    (0, 1, 0, 0).
    """

    option = "top_entropy"

    ranks_tokens: ClassVar[bool] = True

    rho: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rho", self.rho, 0, 1, open_low=True)

    def raw(self, at: WeightInputs) -> Tensor:
        entropy = (at.policy.entropy * 1e5).round().masked_fill(~at.mask, -math.inf).flatten()
        # Slightly less: .07 * 100 = 7.000000000000001 would choose an eighth token.
        count = math.ceil(self.rho * int(at.mask.sum()) - 1e-9)
        chosen = entropy.argsort(descending=True, stable=True)[:count]
        return entropy.new_zeros(entropy.shape).index_fill(0, chosen, 1.0).reshape(at.mask.shape)


@dataclass(kw_only=True)
class TopKEntropy(Weighting):
    """w = (H_K / ln K)^a with the entropy H_K of the K = min(k, V) likeliest tokens, renormalised.

    EAFT (arXiv 2601.02151, eq. 3) with k = 20 and a = 1. The paper divides by 3, which is about
    ln 20, so that w is at most .9986; here w is 1 for equal probabilities, whatever K is. Raises
    ValueError for k < 2, a < 0, or statistics without `top_k`. V = 2, P = (.9, .1): .4690.
    """

    option = "top_k_entropy"

    k: int = 20
    a: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("k", self.k, 2)
        check_range("a", self.a, 0)

    @property
    def top_k(self) -> int | None:
        return self.k

    def raw(self, at: WeightInputs) -> Tensor:
        if at.policy.top_k_entropy is None:
            raise ValueError(f"weighting=top_k_entropy: needs token_stats(..., top_k={self.k})")
        largest = math.log(max(min(self.k, at.policy.vocab_size), 2))
        return (at.policy.top_k_entropy / largest).clamp(0.0, 1.0) ** self.a


@dataclass(kw_only=True)
class Srft(Weighting):
    """w = exp(sign H): SRFT; with sign -1, large where the policy is certain.

    arXiv 2506.19767, eq. 8, has sg(e^-H) on demonstrations, times .5, which is left to alpha here.
    Two readers report that its public code (fyqqyf/SRFT) has e^+H, hence the setting; with sign 1,
    w exceeds 1 (up to V). Not checked against the authors' code. H is the mean of H(P) over the
    row's tokens, or with `level=token` that of each token. Raises ValueError for another sign or
    level. P = (.5, .5) everywhere gives .5, and with sign 1 it gives 2.
    """

    option = "srft"

    sign: int = -1
    level: str = "sequence"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("weighting.sign", self.sign, (-1, 1))
        check_choice("weighting.level", self.level, ("token", "sequence"))

    @property
    def note(self) -> str | None:
        return "weighting.sign=1: w = exp(H), above 1 wherever H > 0" if self.sign == 1 else None

    def raw(self, at: WeightInputs) -> Tensor:
        entropy = at.policy.entropy
        if self.level == "sequence":
            entropy = row_mean(entropy, at.mask)
        return (self.sign * entropy).exp()
