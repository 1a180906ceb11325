"""The feedback that a step gives a controller, measured over all ranks before alpha is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from chord.data.batch import micro_batches
from chord.distributed.collectives import all_max, all_min, all_rows, all_sum
from chord.models.models import Models
from chord.rollout.rollouts import Rollouts
from chord.schedules import Feedback, Gac, Schedule
from chord.step.rows import ExpertRows
from chord.step.sft import add_sft_gradient
from chord.weightings import Weighting, minmax_signal


@dataclass
class ExpertScores:
    """The policy on a step's expert rows: mean -log p per row (B,), weight per token (N,)."""

    nll: Tensor
    weights: Tensor


@torch.no_grad()
def score_experts(
    models: Models, rows: ExpertRows, weighting: Weighting, *, micro_batch: int = 0
) -> ExpertScores:
    """Run the policy over the expert rows as the SFT branch would, but without gradient."""
    seen = add_sft_gradient(
        models,
        rows,
        weighting,
        share=1.0,
        micro_batch=micro_batch,
        backward=lambda loss: None,
    )
    nll: list[Tensor] = []
    for index, logprobs in zip(micro_batches(rows.tokens, micro_batch), seen.logprobs, strict=True):
        lengths = rows.tokens.mask[index].sum(dim=1).tolist()
        nll += [-row.double().mean() for row in logprobs.split(lengths) if row.numel()]
    return ExpertScores(
        torch.stack(nll) if nll else torch.zeros(0, dtype=torch.float64),
        torch.cat(seen.weights).double(),
    )


def measure(
    schedule: Schedule,
    step: int,
    *,
    rollouts: Rollouts | None = None,
    experts: ExpertScores | None = None,
    sft_grad_norm: float | None = None,
) -> Feedback:
    """What `schedule` reads at this step; `rollouts` and `experts` must be given if they are read.

    Of the rollouts, it reads the policy's own responses to all problems drawn, `rollouts.observed`,
    whatever is trained on. Values of single rows and tokens are first gathered from all ranks, and
    then summed.
    """
    needs, feedback = schedule.needs_at(step), Feedback()
    if "sft_grad_norm" in needs:
        feedback.sft_grad_norm = sft_grad_norm
    if rollouts is None:
        return feedback
    seen = rollouts.observed
    if "reward" in needs:
        feedback.reward = float(gathered(seen.rewards.flatten()).mean())
    if "entropy" in needs:
        feedback.entropy = float(gathered(seen.entropies).mean())
    if isinstance(schedule, Gac) and needs:
        assert experts is not None, "gac reads expert rows"
        advantages = seen.advantages.flatten()
        per_token = advantages.repeat_interleave(seen.lengths.flatten())
        feedback.advantage_variance = trimmed_variance(gathered(advantages))
        feedback.nll_variance = trimmed_variance(gathered(experts.nll), trim=schedule.trim)
        feedback.gap = mean_squared_gap(gathered(experts.weights), gathered(per_token))
    return feedback


def step_signal(scores: Tensor) -> Tensor:
    """Scores (B,) to n in [0, 1], by the smallest and largest score of the step on all ranks."""
    magnitude = scores.abs()
    # A rank without rows takes part in the communication, without effect on the result.
    low = magnitude.min() if scores.numel() else scores.new_tensor(math.inf)
    high = magnitude.max() if scores.numel() else scores.new_tensor(-math.inf)
    return minmax_signal(scores, low=all_min(low), high=all_max(high))


def gathered(values: Tensor) -> Tensor:
    """The values (N,) of all ranks, in double precision."""
    return all_rows(values.double())[0]


def trimmed_variance(values: Tensor, *, trim: float = 0.0) -> float:
    """Population variance of (N,) without the floor(trim N) smallest and as many largest values.

    0 if nothing is left. For (9, 1, 3, 5, -20) and trim .2: 1, 3, 5 with mean 3, so 8/3.
    """
    # .3 * 10 is 2.9999999999999996, which must not keep one more value.
    cut = int(trim * values.numel() + 1e-9)
    kept = values.double().sort().values[cut : values.numel() - cut]
    return float(kept.var(correction=0)) if kept.numel() else 0.0


def mean_squared_gap(first: Tensor, second: Tensor) -> float:
    """Mean of (a - b)^2 over all pairs of a in `first` (N,) and b in `second` (M,); 0 if none.

    It is (mean a - mean b)^2 + var a + var b. For (0, 1) and (1, 1, 4): the pairs' gaps are 1, 1,
    4, 0, 0, 3, so (1 + 1 + 16 + 9) / 6 = 4.5.
    """
    if not first.numel() or not second.numel():
        return 0.0
    a, b = first.double(), second.double()
    between = (a.mean() - b.mean()).square()
    return float(between + a.var(correction=0) + b.var(correction=0))


def gradient_norm(gradients: list[Tensor], *, sharded: bool = False) -> float:
    """The norm of a gradient given by parameter: 5 for (3,) and (4,).

    `sharded`: each rank has a part of each gradient.
    """
    squares = torch.stack([g.detach().double().square().sum() for g in gradients]).sum()
    return math.sqrt(all_sum(squares) if sharded else squares)
