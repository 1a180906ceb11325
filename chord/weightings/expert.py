"""Weights that compare the policy with an expert: a teacher, or certainty about the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice
from chord.weightings.base import Weighting, WeightInputs
from chord.weightings.stats import TokenStats

if TYPE_CHECKING:
    from torch import Tensor

EXPERTS = ("teacher", "one_hot")


@dataclass(kw_only=True)
class _ExpertWeighting(Weighting):
    """`expert`: `teacher`, or `one_hot` for an expert that is certain of its own token."""

    one_hot_formula: ClassVar[str]

    expert: str = "teacher"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("weighting.expert", self.expert, EXPERTS)

    @property
    def needs_teacher(self) -> bool:
        return self.expert == "teacher"

    @property
    def note(self) -> str | None:
        if self.needs_teacher:
            return None
        return f"weighting.expert=one_hot: no teacher, w = {self.one_hot_formula}"

    def _teacher(self, at: WeightInputs) -> TokenStats:
        if at.expert is None:
            raise ValueError(
                "weighting.expert=teacher: needs a teacher's distribution; "
                "give one, or choose weighting.expert=one_hot"
            )
        return at.expert


@dataclass(kw_only=True)
class Adaptive(_ExpertWeighting):
    """w = (1 - H(Q) / ln V) (1 - n / 2): large where the expert is certain and the signal is low.

    From the unified objective. `signal` is n = `minmax_signal` of the verifier's score of the
    expert's response. With `expert=one_hot`, H(Q) is 0 and w = 1 - n / 2. A uniform Q gives 0; a
    certain Q gives 1 at n = 0 and .5 at n = 1.
    """

    option = "adaptive"

    needs_signal: ClassVar[bool] = True
    one_hot_formula: ClassVar[str] = "1 - n / 2"

    def raw(self, at: WeightInputs) -> Tensor:
        if at.signal is None:
            raise ValueError("weighting=adaptive: needs a signal, one value in [0, 1] for each row")
        logprobs = at.policy.logprobs
        n = at.signal.to(logprobs.dtype)
        damping = 1.0 - 0.5 * (n.unsqueeze(-1) if n.dim() < logprobs.dim() else n)
        if not self.needs_teacher:
            return damping.expand(logprobs.shape)
        return ((1.0 - self._teacher(at).relative_entropy) * damping).clamp(0.0, 1.0)


@dataclass(kw_only=True)
class Margin(_ExpertWeighting):
    """w = clip(max Q - max P, 0, 1): large where the expert is more certain than the policy.

    From the unified objective. With `expert=one_hot`, max Q is 1 and w = 1 - max P. max Q = .9 and
    max P = .6 give .3; max Q = .6 and max P = .9 give 0.
    """

    option = "margin"

    one_hot_formula: ClassVar[str] = "1 - max P"

    def raw(self, at: WeightInputs) -> Tensor:
        sure = self._teacher(at).max_prob if self.needs_teacher else 1.0
        return (sure - at.policy.max_prob).clamp(0.0, 1.0)
