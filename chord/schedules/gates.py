"""Gates: rules for which problems of a step are learned by SFT on the expert's response, not by RL.

A gate judges each problem drawn for a step by the scores of the policy's own responses to it. Its
value g in [0, 1] takes the place of alpha for that problem:

    loss = sum_i g_i (w nll)_i / N_sft + sum_i (1 - g_i) rl_i / N_rl

N_sft counts the tokens of the expert responses to all problems drawn, and N_rl those of all groups
trained on, gated or not. A gate is a pure function of scores; its memory is a separate state, which
holds problem keys only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

Keys = list[int]


@dataclass(kw_only=True)
class Gate(ABC):
    """Judges the problems of a step by the scores of their rollouts, (P, K) in [0, 1].

    A rollout is right if its score is 1 or more, and wrong if it is 0 or less.
    """

    needs_experts: ClassVar[bool] = True
    """Whether every RL problem must have an expert response: `data.pairing=paired`."""
    imitates_judged: ClassVar[bool] = True
    """Whether the judged problems are this step's SFT rows; with a buffer, they come later."""

    @abstractmethod
    def judge(self, scores: Tensor) -> Tensor:
        """g of each problem (P,): 1 is SFT only, 0 is RL only; in the scores' dtype."""

    def start(self) -> Keys:
        """The state before the first step: no problem is waiting."""
        return []

    def add(self, state: Sequence[int], keys: Sequence[int], scores: Tensor) -> tuple[Keys, Keys]:
        """The state after a step, and the keys of the problems that leave it for an SFT step.

        `keys` (P,) identify the problems with these scores (P, K), from all ranks in rank order, so
        that all ranks have the same state. Nothing is changed in place.
        """
        return list(state), []


@dataclass(kw_only=True)
class NoGate(Gate):
    """g = 0: alpha alone decides."""

    option = "none"

    needs_experts: ClassVar[bool] = False

    def judge(self, scores: Tensor) -> Tensor:
        return scores.new_zeros(scores.shape[0])


# HPT's soft coefficients: 2^-s for SFT and 2^(s-4) for RL, if s of 8 rollouts are right.
_SOFT_GROUP, _SOFT_END = 8, 4


@dataclass(kw_only=True)
class SolveRate(Gate):
    """g = 1 if at most the share `gamma` of the rollouts is right, else 0.

    HPT (arXiv 2509.04419), gamma 0 or 2/8; checked against its code (`switch_gate`, which is a
    number out of 8 rollouts). With gamma 0 it is SuperRL (arXiv 2506.01096, v2): SFT if every
    rollout failed.

    With `soft=True`, g falls from 1 to 0 over the solve rates above gamma. This follows `soft_type`
    2 of HPT's code, which no published run uses and which was not found in the paper. There, if s
    of 8 rollouts are right, SFT gets 2^-s and RL 2^(s-4), except for RL only from s = 4 on and SFT
    only at s = 0. These do not add up to 1; here they are divided by their sum. With s = 8 times
    the solve rate, that is:

        g = 1 / (1 + 4^(s-2))   for 0 < s < 4,   1 at s = 0,   0 from s = 4 on

    Solve rates 0, 1/8, 2/8, 3/8, 4/8 give g = 1, .8, .5, .2, 0. Unlike in HPT's code, the loss is
    divided by the count N of all rows, so that a problem does not weigh more because others left
    the branch. Raises ValueError for gamma outside [0, 1].
    """

    option = "solve_rate"

    gamma: float = 0.0
    soft: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gate.gamma={self.gamma}: must be within [0, 1]")

    def judge(self, scores: Tensor) -> Tensor:
        rates = (scores >= 1).double().mean(dim=1)
        # Rates are multiples of 1/K: .3 of 10 must not be missed by rounding.
        low = rates <= self.gamma + 1e-9
        if not self.soft:
            return low.to(scores.dtype)
        solved = _SOFT_GROUP * rates
        soft = 1 / (1 + 4 ** (solved - _SOFT_END / 2))
        soft = soft.masked_fill(solved >= _SOFT_END, 0.0).masked_fill(solved <= 0, 1.0)
        return soft.masked_fill(low, 1.0).to(scores.dtype)


@dataclass(kw_only=True)
class AllWrongBuffer(Gate):
    """Problems that no rollout solved are collected; `size` of them make one SFT step.

    ReLIFT (arXiv 2506.07527), size 128; checked against its code. g is 0: the collected problems
    stay in RL, where a group without a right response has no advantage anyway. There are three
    differences from the code: a problem is collected once, however often it failed; the oldest
    `size` leave first, not the newest; and the list is saved in checkpoints. As in the code, a
    train step has at most one SFT step, and the remaining problems stay in the list. Raises
    ValueError for a size below 1.
    """

    option = "all_wrong_buffer"

    imitates_judged: ClassVar[bool] = False

    size: int = 128

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"gate.size={self.size}: must be at least 1")

    def judge(self, scores: Tensor) -> Tensor:
        return scores.new_zeros(scores.shape[0])

    def add(self, state: Sequence[int], keys: Sequence[int], scores: Tensor) -> tuple[Keys, Keys]:
        wrong = (scores <= 0).all(dim=1).tolist()
        failed = [int(key) for key, is_wrong in zip(keys, wrong, strict=True) if is_wrong]
        waiting = list(dict.fromkeys([*state, *failed]))
        if len(waiting) < self.size:
            return waiting, []
        return waiting[self.size :], waiting[: self.size]
