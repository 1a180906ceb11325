"""Weights that compare the policy with the reference, a frozen copy of the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice
from chord.weightings.base import Weighting, WeightInputs, check_range
from chord.weightings.stats import row_mean

if TYPE_CHECKING:
    from torch import Tensor

# For each level: the factor of the log ratio, the lowest and the highest weight.
LEVELS = {"token": (1.0, 0.2, 1.8), "sequence": (2.0, 0.0, 16.0)}


@dataclass(kw_only=True)
class Iw(Weighting):
    """w = clip(exp(scale (log p - log p_ref)), low, high): iw-SFT, with `level=token`.

    Both forms of arXiv 2507.12856 and its public code: per token, with scale 1 within [.2, 1.8]; or
    with `level=sequence`, one weight for a row from the mean of log p - log p_ref over its tokens,
    with scale 2 within [0, 16] (the code's default; its trainer passes 1). w exceeds 1 for tokens
    that the policy has learned. The reference is the model at the start of the run. Raises
    ValueError for a scale <= 0, bounds that are not 0 <= low <= high, or a missing reference. p =
    .3, p_ref = .2: 1.5. Two such tokens as a sequence: 2.25.
    """

    option = "iw"

    needs_reference: ClassVar[bool] = True

    level: str = "token"
    scale: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("weighting.level", self.level, tuple(LEVELS))
        scale, low, high = self._form()
        check_range("scale", scale, 0, open_low=True)
        check_range("low", low, 0)
        check_range("high", high, low)

    def _form(self) -> tuple[float, float, float]:
        scale, low, high = LEVELS[self.level]
        return (
            scale if self.scale is None else self.scale,
            low if self.low is None else self.low,
            high if self.high is None else self.high,
        )

    def raw(self, at: WeightInputs) -> Tensor:
        if at.reference is None:
            raise ValueError("weighting=iw: needs log p of the targets under a reference model")
        scale, low, high = self._form()
        gap = at.policy.logprobs - at.reference
        if self.level == "sequence":
            gap = row_mean(gap, at.mask)
        return (scale * gap).exp().clamp(low, high)
