"""The SFT branch: weighted imitation of the expert's tokens, or of a teacher's distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed import all_sum, world_size
from chord.gradients.rows import Backward, ExpertRows, Models, Tokens
from chord.gradients.weights import StepWeights
from chord.losses import denominator, weighted_loss
from chord.losses.distillation import TeacherTokens
from chord.models.scoring import response_logits
from chord.targets import Target
from chord.targets import Tokens as ExpertTokens
from chord.weightings import Weighting, token_stats


def add_sft_gradient(
    models: Models,
    rows: ExpertRows,
    weighting: Weighting,
    *,
    share: float,
    target: Target | None = None,
    micro_batch: int = 0,
    backward: Backward = Tensor.backward,
) -> Tokens:
    """Add the gradient of `share * sum(g w l) / N`, N the tokens of all rows of the whole step.

    l is the target's loss of a token, -log p of the expert's where none is given; w its weight,
    without gradient; g its row's share.
    """
    seen, target = Tokens(), target or ExpertTokens()
    total = all_sum(denominator(rows.tokens.mask))
    weights_of = StepWeights(models, weighting, rows.tokens, rows.signal, micro_batch=micro_batch)
    for index in micro_batches(rows.tokens, micro_batch):
        batch = rows.tokens.select(index)
        targets = batch.targets[batch.mask]
        logits = response_logits(models.policy, batch)
        stats = token_stats(logits, targets, top_k=weighting.top_k)
        weights = weights_of(index, stats)
        losses = target.token_losses(
            logits, stats.logprobs, targets, _teacher(models, rows, target, index, batch)
        )
        factors = weights
        if rows.share is not None:
            factors = factors * _of_row(rows.share[index], batch)
        everywhere = torch.ones_like(stats.logprobs, dtype=torch.bool)
        loss = weighted_loss(losses, factors, everywhere, total=total)
        backward(share * world_size() * loss)
        seen.loss += float(loss.detach())
        seen.logprobs.append(stats.logprobs.detach())
        seen.weights.append(weights)
    return seen


def _of_row(values: Tensor, batch: TokenBatch) -> Tensor:
    """Each response token's value (N,) of its row's (B,)."""
    return values[:, None].expand(batch.mask.shape)[batch.mask]


@torch.no_grad()
def _teacher(
    models: Models, rows: ExpertRows, target: Target, index: Tensor, batch: TokenBatch
) -> TeacherTokens | None:
    """The teacher's log-probabilities at the response tokens, cached or computed."""
    if not target.needs_teacher:
        return None
    if rows.teacher is not None:
        width = batch.mask.shape[1]
        return rows.teacher[index][:, :width][batch.mask]
    assert models.teacher is not None, "this target needs a teacher"
    return target.read(response_logits(models.teacher, batch))
