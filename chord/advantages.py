"""Advantages: rewards of groups of answers -> how much better than expected each answer was.

Statistics are taken in float64 over exactly the rewards given. `batch` therefore means the whole
train step only if the caller gathers the rewards of all ranks first and slices the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SETS = ("group", "batch", "none")
EPSILON = 1e-6


@dataclass(kw_only=True)
class Advantage:
    """A = (R - baseline) / (scale + 1e-6), statistics over the answer's group or the whole batch.

    `baseline=group, scale=group` is GRPO's (arXiv 2402.03300, section 4.1.2; 2508.11408, eq. 2),
    `baseline=batch, scale=none` plain REINFORCE with the batch mean. `compute_advantages` has the
    shapes, errors and a worked value. Raises ValueError for an unknown name.
    """

    baseline: str = "group"
    scale: str = "group"

    def __post_init__(self) -> None:
        for name, value in (("baseline", self.baseline), ("scale", self.scale)):
            if value not in SETS:
                raise ValueError(f"advantage.{name}={value}: must be one of {', '.join(SETS)}")

    def __call__(self, rewards: Tensor) -> Tensor:
        return compute_advantages(rewards, baseline=self.baseline, scale=self.scale)


def compute_advantages(
    rewards: Tensor, *, baseline: str, scale: str, epsilon: float = EPSILON
) -> Tensor:
    """Centre rewards (P problems, K answers) by their baseline and divide by std + epsilon.

    The standard deviation is the unbiased one. A set (group or batch) whose largest reward *equals*
    its smallest one gives A = 0 by comparison: in floating point eight rewards of 1/3 need not
    have the mean 1/3, and dividing what is left by epsilon would turn rounding into a signal.
    Returns (P, K) in the dtype of floating rewards, float64 otherwise.

    Raises ValueError for a group of one where the group is compared with itself.
    Rewards (1, 0, 0, 0) with both over the group give (1.5, -.5, -.5, -.5) up to the epsilon: mean
    .25, unbiased std sqrt(.75 / 3) = .5.
    """
    assert rewards.dim() == 2, f"rewards must be (problems, answers), not {tuple(rewards.shape)}"
    if rewards.shape[1] < 2 and "group" in (baseline, scale):
        raise ValueError(
            f"rollout.group_size={rewards.shape[1]}: must be at least 2 with "
            f"advantage.baseline={baseline}, advantage.scale={scale}"
        )
    values = rewards.detach().double()
    centred = values if baseline == "none" else _centred(values, over=baseline)
    if scale != "none":
        centred = _scaled(centred, values, over=scale, epsilon=epsilon)
    return centred.to(rewards.dtype) if rewards.is_floating_point() else centred


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


def _scaled(centred: Tensor, values: Tensor, *, over: str, epsilon: float) -> Tensor:
    if values.numel() == 0:
        return centred
    sets = _sets(values, over)
    constant = _constant(sets)
    # One reward is constant too; two copies of it keep torch from warning about its std.
    spread = (sets if sets.shape[1] > 1 else sets.repeat(1, 2)).std(dim=1, keepdim=True)
    scaled = (_sets(centred, over) / (spread + epsilon)).masked_fill(constant, 0.0)
    return scaled.reshape(values.shape)
