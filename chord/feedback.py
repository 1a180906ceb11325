"""What a step shows a controller, measured over all ranks before alpha is chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from chord.distributed import all_rows
from chord.metrics import Rollouts
from chord.schedules import Feedback


def measure(
    needs: frozenset[str], *, rollouts: Rollouts | None, sft_grad_norm: float | None
) -> Feedback:
    """The fields named in `needs`; `rollouts` must be there where one of them is of rollouts."""
    feedback = Feedback()
    if "sft_grad_norm" in needs:
        feedback.sft_grad_norm = sft_grad_norm
    if rollouts is not None:
        if "reward" in needs:
            feedback.reward = mean_over_ranks(rollouts.rewards.flatten())
        if "entropy" in needs:
            feedback.entropy = mean_over_ranks(rollouts.entropies)
    return feedback


def mean_over_ranks(values: Tensor) -> float:
    """The mean of the values (N,) of all ranks, each value counting the same."""
    return float(all_rows(values.double())[0].mean())


def gradient_norm(gradients: list[Tensor]) -> float:
    """The norm of a gradient given by parameter: 5 for (3,) and (4,)."""
    return float(torch.stack([g.detach().double().norm() for g in gradients]).norm())
