"""The RL branch: the policy's own rollouts, and the expert's tokens inside their groups."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from chord.data.batch import TokenBatch
from chord.distributed.collectives import all_sum, world_size
from chord.losses import Objective, aggregate, denominator
from chord.models.models import Models
from chord.models.policy import Policy
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
    skip_idle: bool = True,
) -> TokenLog:
    """Add the gradient of `share` times the objective over the step's rollouts, with all its terms.

    Tokens that an expert wrote are left to `off_policy`. They never enter the objective, the KL
    term or the entropy bonus, all of which need tokens that the policy sampled.

    In the first update on the rows, which have no `old_logprobs` yet, this pass computes them, so
    each ratio is exactly 1, whatever the precision and however the rows are cut. They are left in
    `TokenLog.table` for further updates on the same rows.

    Rows of groups without a signal have a gradient only through other terms. If there are none,
    they are computed for the log alone, without a backward pass, unless `skip_idle` is False.
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
    # Weights of a whole step, such as those with mean 1, are taken over all of its rows at once.
    idle = _idle(rows, objective) & (skip_idle and weights_of is None)
    for index, learns in _pieces(models.policy, rows.tokens, idle, micro_batch):
        with torch.set_grad_enabled(learns):
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
        if learns:
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


def _idle(rows: RolloutRows, objective: Objective) -> Tensor:
    """Which rows (B,) have no gradient: neither advantage, nor another term, nor an expert."""
    others = objective.entropy_coef > 0 or (objective.kl.coef > 0 and objective.kl.where == "loss")
    if others or not objective.proportional:
        return torch.zeros_like(rows.advantages, dtype=torch.bool)
    idle = rows.advantages == 0
    return idle if rows.expert is None else idle & ~rows.expert.any(dim=1)


def _pieces(
    policy: Policy, tokens: TokenBatch, idle: Tensor, size: int
) -> Iterator[tuple[Tensor, bool]]:
    """Micro-batches of idle rows, then of rows that are learned from, and which of both they are.

    All ranks have equally many of each. The backward pass comes last, as it leaves a sharded
    policy in shards.
    """
    for learns in (False, True):
        kept = (idle != learns).nonzero()[:, 0]
        # Without a row to learn from, a pass gives each parameter a gradient of zero.
        if len(kept) or learns or world_size() > 1:
            for index in policy_batches(policy, tokens.select(kept), size):
                yield kept[index], learns
