"""The SFT branch: a weighted loss on the expert's tokens, or on a teacher's distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed.collectives import all_sum, world_size
from chord.losses import denominator, weighted_loss
from chord.losses.distillation import TeacherTokens
from chord.losses.targets import Target
from chord.losses.targets import Tokens as ExpertTokens
from chord.models.models import Models
from chord.models.scoring import pack, score, take_stats
from chord.step.rows import Backward, ExpertRows, TokenLog
from chord.step.weights import StepWeights
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
) -> TokenLog:
    """Add the gradient of `share * sum(g w l) / N`, with N all tokens of the step's rows.

    l is the target's loss of a token, or -log p of the expert's token if there is no target; w is
    the token's weight, without gradient; g is the share of its row.
    """
    seen, target = TokenLog(), target or ExpertTokens()
    total = all_sum(denominator(rows.tokens.mask))
    weights_of = StepWeights(
        models, weighting, rows.tokens, rows.signal, order=rows.order, micro_batch=micro_batch
    )

    def of_tokens(logits: Tensor, targets: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
        stats = token_stats(logits, targets, top_k=weighting.top_k)
        teacher = _read(models, rows, target, tables)
        return target.token_losses(logits, stats.logprobs, targets, teacher), *pack(stats)

    for index in micro_batches(rows.tokens, micro_batch):
        batch = rows.tokens.select(index)
        tables = _tables(models, rows, target, index, batch)
        losses, *columns = score(models.policy, batch).map(
            of_tokens, batch.targets[batch.mask], *tables
        )
        stats = take_stats(columns, models.policy.vocab_size, top_k=weighting.top_k)
        weights = weights_of(index, stats)
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
    """For each response token (N,), the value of its row, from values (B,)."""
    return values[:, None].expand(batch.mask.shape)[batch.mask]


@torch.no_grad()
def _tables(
    models: Models, rows: ExpertRows, target: Target, index: Tensor, batch: TokenBatch
) -> tuple[Tensor, ...]:
    """The teacher at the response tokens, (N, ...): cached tables, or the teacher's features.

    Its logits, like the policy's, are too large to keep.
    """
    if not target.needs_teacher:
        return ()
    if rows.teacher is not None:
        cached = rows.teacher[index][:, : batch.mask.shape[1]][batch.mask]
        return (cached.logprobs,) if cached.ids is None else (cached.logprobs, cached.ids)
    assert models.teacher is not None, "this target needs a teacher"
    return (score(models.teacher, batch).features,)


@torch.no_grad()
def _read(
    models: Models, rows: ExpertRows, target: Target, tables: tuple[Tensor, ...]
) -> TeacherTokens | None:
    """The teacher's log-probabilities, from a piece of `_tables`."""
    if not tables or rows.teacher is not None:
        return TeacherTokens(*tables) if tables else None
    assert models.teacher is not None, "this target needs a teacher"
    return target.read(models.teacher.head(*tables))
