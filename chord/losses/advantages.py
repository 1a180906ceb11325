"""Advantages: rewards of groups of answers -> how much better than expected each answer was.

Statistics are taken in float64 over exactly the rewards given. `batch` therefore means the whole
train step only if the caller gathers the rewards of all ranks first and slices the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

BASELINES = ("group", "all", "on_policy", "batch", "none", "rloo")
SCALES = ("group", "batch", "whiten", "none")
EPSILON = 1e-6


@dataclass(kw_only=True)
class Advantage:
    """A = (R - baseline) / (scale + 1e-6), statistics over the answer's group or the whole batch.

    `baseline`: `group` or `batch` mean, `none`; `on_policy`, the mean of the group's members that
    the policy sampled, where an expert's answer is among them (`all`, another name of `group`,
    counts it in: LUFFY, 2504.14945); or `rloo`, the mean of the *other* answers of the
    group, R - mean of others = K / (K - 1) (R - mean) (arXiv 2402.14740, section 2.3).
    `scale`: the standard deviation of the rewards over the `group` or the `batch`, `none`, or
    `whiten`, that of the values left by the baseline, over the batch (arXiv 2501.03262, v9, eq. 7).

    `baseline=group, scale=group` is GRPO's (arXiv 2402.03300, section 4.1.2; 2508.11408, section
    2), without the scale Dr. GRPO's (2503.20783), `batch, none` plain REINFORCE with the batch
    mean, `group, whiten` REINFORCE++'s with baseline, `batch, batch` its other one without.
    `compute_advantages` has the shapes, errors and a worked value. Raises ValueError for an
    unknown name.
    """

    option = "advantage"

    reads_scores: ClassVar[bool] = False
    """Whether it asks which answers are right: it is then called with the verifier's `scores`."""

    baseline: str = "group"
    scale: str = "group"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("baseline", self.baseline, BASELINES),
            ("scale", self.scale, SCALES),
        ):
            check_choice(f"advantage.{name}", value, allowed)

    def __call__(
        self, rewards: Tensor, *, own: Tensor | None = None, entropy: Tensor | None = None
    ) -> Tensor:
        """Advantages (P, K) of rewards (P, K).

        `own` (P, K) bool: the answers that the policy sampled, None for all; `entropy` (P, K): mean
        entropy in nats of each answer's sampled tokens, for `SrftAdvantage`.
        """
        return compute_advantages(rewards, baseline=self.baseline, scale=self.scale, own=own)

    def penalty(self, penalty: Tensor, *, own: Tensor | None = None) -> Tensor:
        """What a penalty (P, K) on the answers, such as a KL, lowers their advantages by.

        It is centred by the baseline and divided by no spread: see `centred_penalty`.
        """
        whitened = self.baseline == "none" and self.scale == "whiten"
        return centred_penalty(penalty, baseline="batch" if whitened else self.baseline, own=own)


@dataclass(kw_only=True)
class SrftAdvantage(Advantage):
    """SRFT's signals: coef e^H for a right answer of the policy, -1 for a wrong one.

    The self-exploration term of SRFT (arXiv 2506.19767, eq. 12, coef .1) is coef sg(e^H) NLL of
    right samples plus log pi of wrong ones, which is REINFORCE with these advantages; H is the mean
    entropy of the answer's tokens. The expert's answer in a group has R - group mean, as LUFFY's
    code has it; eq. 7 divides by the group's std. Right is a score of 1 or more, whatever the
    reward adds to it or takes off it. Not verified against the authors' code (fyqqyf/SRFT, not
    read), but against a re-implementation (Unify-Post-Training, commit ae332f5). Raises ValueError
    for a coefficient below 0.

    Scores (1, 0) of own answers, H = ln 2 both: (.2, -1), also where the rewards are (.95, .15).
    """

    option = "srft"

    reads_scores: ClassVar[bool] = True

    baseline: str = "all"
    scale: str = "none"
    coef: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.coef >= 0:
            raise ValueError(f"advantage.coef={self.coef}: must be a number >= 0")

    def __call__(
        self,
        rewards: Tensor,
        *,
        own: Tensor | None = None,
        entropy: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> Tensor:
        """Advantages (P, K); `scores` (P, K) are the verifier's, None where the rewards are."""
        assert entropy is not None, "advantage=srft reads the answers' entropies"
        right = (rewards if scores is None else scores).detach() >= 1
        signed = (self.coef * entropy.double().exp()).where(right, -1.0)
        if own is not None:
            signed = signed.where(own, super().__call__(rewards, own=own).double())
        return signed.to(rewards.dtype) if rewards.is_floating_point() else signed


def compute_advantages(
    rewards: Tensor,
    *,
    baseline: str,
    scale: str,
    own: Tensor | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Centre rewards (P problems, K answers) by their baseline and divide by std + epsilon.

    The standard deviation is the unbiased one. A set (group or batch) whose largest value *equals*
    its smallest one gives A = 0 by comparison: in floating point eight rewards of 1/3 need not
    have the mean 1/3, and dividing what is left by epsilon would turn rounding into a signal.
    `whiten` gives the centred values the mean 0 and the standard deviation 1 over the batch. Those
    of a group have the mean 0 already; subtracting its rounding would give a signal to groups
    without any. Returns (P, K) in the dtype of floating rewards, float64 otherwise.

    Raises ValueError for a group of one where the group is compared with itself.
    Rewards (1, 0, 0, 0) with both over the group give (1.5, -.5, -.5, -.5) up to the epsilon: mean
    .25, unbiased std sqrt(.75 / 3) = .5. With `on_policy, none` and the first one an expert's:
    (1, 0, 0, 0). With `rloo, none`: (1, -1/3, -1/3, -1/3).
    """
    assert rewards.dim() == 2, f"rewards must be (problems, answers), not {tuple(rewards.shape)}"
    size = rewards.shape[1]
    if size < 2 and (baseline in ("group", "all", "rloo") or scale == "group"):
        raise ValueError(
            f"rollout.group_size={size}: must be at least 2 with "
            f"advantage.baseline={baseline}, advantage.scale={scale}"
        )
    values = rewards.detach().double()
    if baseline == "none" and scale == "whiten":
        baseline = "batch"
    if baseline == "all" or (baseline == "on_policy" and own is None):
        baseline = "group"
    if baseline == "none":
        centred = values
    elif baseline == "on_policy":
        assert own is not None
        centred = _centred_by_own(values, own)
    elif baseline == "rloo":
        centred = _centred(values, over="group") * size / (size - 1)
    else:
        centred = _centred(values, over=baseline)
    if scale == "whiten":
        centred = _scaled(centred, centred, over="batch", epsilon=epsilon)
    elif scale != "none":
        centred = _scaled(centred, values, over=scale, epsilon=epsilon)
    return centred.to(rewards.dtype) if rewards.is_floating_point() else centred


def centred_penalty(penalty: Tensor, *, baseline: str, own: Tensor | None = None) -> Tensor:
    """Penalties (P, K) less their mean over the group or the batch, for A = (R - b) / s - these.

    They are not divided by the spread of the rewards, nor by their own: a coefficient then counts
    alike in every group, also where all rewards are equal. Baselines as in `Advantage`; what the
    policy has not sampled (`own` false) has no penalty and is in no mean. Returns (P, K), float64.

    (2, 0) with the group's mean: (1, -1); with `rloo`, less the mean of the others: (2, -2).
    """
    values = penalty.detach().double()
    own = values.new_ones(values.shape).bool() if own is None else own
    if baseline == "none" or values.numel() == 0:
        return values.masked_fill(~own, 0.0)
    over = "batch" if baseline == "batch" else "group"
    sets, members = _sets(values, over), _sets(own, over)
    centred = _centred_by_own(sets, members)
    if baseline == "rloo":
        count = members.sum(dim=1, keepdim=True)
        centred = centred * count / (count - 1).clamp(min=1)
    return centred.masked_fill(~members, 0.0).reshape(values.shape)


def _sets(values: Tensor, over: str) -> Tensor:
    """One row for each set of rewards that is compared with itself."""
    return values if over == "group" else values.reshape(1, -1)


def _constant(sets: Tensor) -> Tensor:
    return sets.amax(dim=1, keepdim=True) == sets.amin(dim=1, keepdim=True)


def _centred(values: Tensor, *, over: str) -> Tensor:
    if values.numel() == 0:
        return values
    sets = _sets(values, over)
    centred = (sets - sets.mean(dim=1, keepdim=True)).masked_fill(_constant(sets), 0.0)
    return centred.reshape(values.shape)


def _centred_by_own(values: Tensor, own: Tensor) -> Tensor:
    """Values less the mean of their group's own members; those are 0 where they are all equal."""
    count = own.sum(dim=1, keepdim=True)
    mean = values.masked_fill(~own, 0.0).sum(dim=1, keepdim=True) / count.clamp(min=1)
    low = values.masked_fill(~own, math.inf).amin(dim=1, keepdim=True)
    high = values.masked_fill(~own, -math.inf).amax(dim=1, keepdim=True)
    # Equal members are their own mean, whatever rounding makes of their sum.
    mean = low.where(low == high, mean)
    return values - mean


def _scaled(centred: Tensor, values: Tensor, *, over: str, epsilon: float) -> Tensor:
    if values.numel() == 0:
        return centred
    sets = _sets(values, over)
    constant = _constant(sets)
    # One reward is constant too; two copies of it keep torch from warning about its std.
    spread = (sets if sets.shape[1] > 1 else sets.repeat(1, 2)).std(dim=1, keepdim=True)
    scaled = (_sets(centred, over) / (spread + epsilon)).masked_fill(constant, 0.0)
    return scaled.reshape(values.shape)
