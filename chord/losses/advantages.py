"""Advantages: from the rewards of groups of responses to how much better than expected each was.

Statistics are computed in float64 over exactly the given rewards. `batch` therefore means the whole
train step only if the caller first gathers the rewards of all ranks, and then slices the result.
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
    """A = (R - baseline) / (scale + 1e-6), with statistics over the response's group or the batch.

    `baseline`: the mean over the `group` or the `batch`, or `none`. If an expert's response is in
    the group, `on_policy` is the mean over the members that the policy sampled, and `all`, another
    name of `group`, includes the expert's (LUFFY, arXiv 2504.14945). `rloo` is the mean over the
    *other* members of the group: R - mean of others = K / (K - 1) (R - mean) (arXiv 2402.14740,
    section 2.3).
    `scale`: the standard deviation of the rewards over the `group` or the `batch`, or `none`;
    `whiten` is that of the centred values over the batch (arXiv 2501.03262, v9, eq. 7).

    `baseline=group, scale=group` is GRPO (arXiv 2402.03300, section 4.1.2; 2508.11408, section 2);
    `group, none` is Dr. GRPO (2503.20783); `batch, none` is plain REINFORCE with the batch mean;
    `group, whiten` is REINFORCE++ with baseline, and `batch, batch` its version without.
    `compute_advantages` has the shapes, errors and a worked value. Raises ValueError for an
    unknown name.
    """

    option = "advantage"

    reads_scores: ClassVar[bool] = False
    """Whether it needs to know which responses are right; it then receives the `scores`."""

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

        `own` (P, K) bool: the responses that the policy sampled; None if it sampled all.
        `entropy` (P, K): mean entropy in nats over each response's tokens, for `SrftAdvantage`.
        """
        return compute_advantages(rewards, baseline=self.baseline, scale=self.scale, own=own)

    def penalty(self, penalty: Tensor, *, own: Tensor | None = None) -> Tensor:
        """How much a penalty (P, K) on the responses, such as a KL, lowers their advantages.

        The penalty is centred by the baseline and not divided by any spread: see `centred_penalty`.
        """
        whitened = self.baseline == "none" and self.scale == "whiten"
        return centred_penalty(penalty, baseline="batch" if whitened else self.baseline, own=own)


@dataclass(kw_only=True)
class SrftAdvantage(Advantage):
    """SRFT: A = coef e^H for a right response of the policy, -1 for a wrong one.

    The self-exploration term of SRFT (arXiv 2506.19767, eq. 12, coef .1) is coef sg(e^H) NLL of
    right samples plus log pi of wrong ones, which is REINFORCE with these advantages; H is the mean
    entropy over the response's tokens. An expert's response in the group has A = R - group mean, as
    in LUFFY's code, whereas eq. 7 also divides by the group's std. A response is right if its score
    is 1 or more, whatever else the reward adds or subtracts. Checked against a re-implementation
    (Unify-Post-Training, commit ae332f5), not against the authors' code (fyqqyf/SRFT, not read).
    Raises ValueError for a coefficient below 0.

    Scores (1, 0) of two own responses with H = ln 2 give (.2, -1), even for rewards (.95, .15).
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
        """Advantages (P, K); `scores` (P, K) are the verifier's, or None if the rewards are."""
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
    """Centre rewards (P problems, K responses) by their baseline and divide by std + epsilon.

    The standard deviation is the unbiased one. If the largest value of a set (group or batch)
    *equals* its smallest, A is exactly 0: in floating point, eight rewards of 1/3 need not have the
    mean 1/3, and dividing the remainder by epsilon would turn rounding into a signal. `whiten`
    gives the centred values mean 0 and standard deviation 1 over the batch. Values centred by group
    have mean 0 already; subtracting their rounded mean would give groups without a signal one.
    Returns (P, K) in the dtype of floating-point rewards, float64 otherwise.

    Raises ValueError for a group of one if the group is compared with itself.
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
    """Penalties (P, K) minus their mean over the group or the batch: c in A = (R - b) / s - c.

    They are not divided by the spread of the rewards, nor by their own spread, so a coefficient has
    the same effect in every group, even if all rewards are equal. Baselines are as in `Advantage`.
    Responses that the policy did not sample (`own` False) have no penalty and count in no mean.
    Returns (P, K) in float64.

    (2, 0) gives (1, -1) with the group's mean, and (2, -2) with `rloo`, the mean of the others.
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
    """One row for each set of rewards that are compared with each other."""
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
    """Values minus the mean over their group's own members; exactly 0 if those are all equal."""
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
