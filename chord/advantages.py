"""Advantages: rewards of groups of answers -> how much better than expected each answer was.

Statistics are taken in float64 over exactly the rewards given. `batch` therefore means the whole
train step only if the caller gathers the rewards of all ranks first and slices the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BASELINES = ("group", "batch", "none", "rloo")
SCALES = ("group", "batch", "whiten", "none")
EPSILON = 1e-6


@dataclass(kw_only=True)
class Advantage:
    """A = (R - baseline) / (scale + 1e-6), statistics over the answer's group or the whole batch.

    `baseline`: `group` or `batch` mean, `none`, or `rloo`, the mean of the *other* answers of the
    group, R - mean of others = K / (K - 1) (R - mean) (arXiv 2402.14740, section 3.3).
    `scale`: the standard deviation of the rewards over the `group` or the `batch`, `none`, or
    `whiten`, that of the values left by the baseline, over the batch (arXiv 2501.03262).

    `baseline=group, scale=group` is GRPO's (arXiv 2402.03300, section 4.1.2; 2508.11408, eq. 2),
    without the scale Dr. GRPO's (2503.20783), `batch, none` plain REINFORCE with the batch mean,
    `group, whiten` REINFORCE++'s with baseline, `batch, batch` its other one without.
    `compute_advantages` has the shapes, errors and a worked value. Raises ValueError for an
    unknown name.
    """

    baseline: str = "group"
    scale: str = "group"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("baseline", self.baseline, BASELINES),
            ("scale", self.scale, SCALES),
        ):
            if value not in allowed:
                raise ValueError(f"advantage.{name}={value}: must be one of {', '.join(allowed)}")

    def __call__(self, rewards: Tensor) -> Tensor:
        return compute_advantages(rewards, baseline=self.baseline, scale=self.scale)


def compute_advantages(
    rewards: Tensor, *, baseline: str, scale: str, epsilon: float = EPSILON
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
    .25, unbiased std sqrt(.75 / 3) = .5. With `rloo, none`: (1, -1/3, -1/3, -1/3).
    """
    assert rewards.dim() == 2, f"rewards must be (problems, answers), not {tuple(rewards.shape)}"
    size = rewards.shape[1]
    if size < 2 and (baseline in ("group", "rloo") or scale == "group"):
        raise ValueError(
            f"rollout.group_size={size}: must be at least 2 with "
            f"advantage.baseline={baseline}, advantage.scale={scale}"
        )
    values = rewards.detach().double()
    if baseline == "none" and scale == "whiten":
        baseline = "batch"
    if baseline == "none":
        centred = values
    elif baseline == "rloo":
        centred = _centred(values, over="group") * size / (size - 1)
    else:
        centred = _centred(values, over=baseline)
    if scale == "whiten":
        centred = _scaled(centred, centred, over="batch", epsilon=epsilon)
    elif scale != "none":
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
