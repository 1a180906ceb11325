"""The RL branch: the policy's own rollouts, and the expert's tokens inside their groups."""

from __future__ import annotations

import torch
from torch import Tensor

from chord.distributed.collectives import all_sum, world_size
from chord.losses import Objective, aggregate, denominator
from chord.models.models import Models
from chord.models.scoring import scatter, score
from chord.models.sharing import policy_batches
from chord.rollout.rows import RolloutRows
from chord.step.off_policy import ExpertTokens
from chord.step.rows import Backward, OffPolicy, TokenLog
from chord.step.terms import Terms
from chord.step.weights import StepWeights
from chord.weightings import Weighting


def add_rl_gradient(
    models: Models,
    rows: RolloutRows,
    objective: Objective,
    weighting: Weighting,
    *,
    share: float,
    temperature: float,
    max_length: int,
    off_policy: OffPolicy | None = None,
    micro_batch: int = 0,
    backward: Backward = Tensor.backward,
) -> TokenLog:
    """Add the gradient of `share` times the objective over the step's rollouts, with all its terms.

    Tokens that an expert wrote are left to `off_policy`. They never enter the objective, the KL
    term or the entropy bonus, all of which need tokens that the policy sampled.

    In the first update on the rows, which have no `old_logprobs` yet, this pass computes them, so
    each ratio is exactly 1, whatever the precision and however the rows are cut. They are left in
    `TokenLog.table` for further updates on the same rows.
    """
    seen, off_policy = TokenLog(), off_policy or OffPolicy()
    if rows.old_logprobs is None:
        seen.table = torch.zeros(rows.tokens.mask.shape, dtype=models.dtype).to(
            models.policy.device
        )
    learnable = _learnable(rows, objective)
    rows = rows.select(learnable)
    if off_policy.loss == "none":
        rows = rows.own()
    own_rows = rows.own()
    experts = None
    if rows.expert is not None:
        experts = ExpertTokens(models, rows, off_policy, seen, micro_batch=micro_batch)
    counted = rows if off_policy.loss == "advantage" else own_rows
    total = all_sum(
        denominator(counted.tokens.mask, aggregation=objective.aggregation, max_length=max_length)
    )
    weights_of = None
    if weighting.apply_to == "both":
        weights_of = StepWeights(
            models,
            weighting,
            own_rows.tokens,
            rows.signal,
            order=rows.order,
            micro_batch=micro_batch,
        )
    terms = Terms(models, objective, temperature=temperature)
    top_k = weighting.top_k if weights_of is not None else None
    for index in policy_batches(models.policy, rows.tokens, micro_batch):
        piece = rows.select(index)
        own = piece.own()
        mask = own.tokens.mask
        everything = score(models.policy, piece.tokens)
        scored = everything if experts is None else everything[mask[piece.tokens.mask]]
        values = terms(scored, own.tokens, top_k=top_k)
        logprobs = scatter(values.logprobs, mask)
        old = logprobs.detach() if piece.old_logprobs is None else piece.old_logprobs
        if seen.table is not None:
            seen.table[learnable[index], : mask.shape[1]] = old
        losses, sums = objective.token_losses(logprobs, old, piece.advantages, mask)
        if piece.correction is not None:
            losses = losses * piece.correction
        losses = losses + scatter(values.added, mask)
        if weights_of is not None:
            losses = losses * scatter(weights_of(index, values.stats), mask)
        if experts is not None and off_policy.loss == "advantage":
            losses = losses + experts.losses(index, piece, everything)
            mask = piece.tokens.mask
        if piece.share is not None:
            losses = losses * piece.share[:, None]
        loss = aggregate(losses, mask, aggregation=objective.aggregation, total=total)
        if experts is not None and off_policy.loss == "nll":
            loss = loss + experts.nll(index, piece, everything)
        backward(share * world_size() * loss)
        seen.loss += float(loss.detach())
        terms.record(values, seen)
        if piece.sampler_logprobs is not None:
            seen.sampled.append(piece.sampler_logprobs[own.tokens.mask])
        for name, value in sums.items():
            seen.add(name, value)
    return seen


def _learnable(rows: RolloutRows, objective: Objective) -> Tensor:
    """The rows that count: masked responses are removed before counting, for every aggregation."""
    if objective.overlong == "keep":
        return torch.arange(len(rows.advantages), device=rows.advantages.device)
    assert rows.finished is not None, "objective.overlong=mask needs to know what was cut off"
    return rows.finished.nonzero().squeeze(1)
