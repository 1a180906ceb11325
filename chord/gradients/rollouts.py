"""The RL branch: the policy's own answers, and what experts put into their groups."""

from __future__ import annotations

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed import all_sum, world_size
from chord.gradients.off_policy import ExpertTokens
from chord.gradients.rows import Backward, Models, OffPolicy, RolloutRows, Tokens
from chord.gradients.weights import StepWeights
from chord.losses import Kl, Objective, aggregate, denominator, token_entropy
from chord.models.scoring import response_logits, scatter
from chord.weightings import Weighting, token_logprobs, token_stats


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
) -> Tokens:
    """Add the gradient of `share *` the objective over the step's rollouts, with all its terms.

    What an expert wrote in them is left to `off_policy`: it never enters the objective, the KL
    term or the entropy bonus, whose tokens must be samples of the policy.
    """
    seen, off_policy = Tokens(), off_policy or OffPolicy()
    rows = _learnable(rows, objective)
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
            models, weighting, own_rows.tokens, rows.signal, micro_batch=micro_batch
        )
    for index in micro_batches(rows.tokens, micro_batch):
        piece = rows.select(index)
        own = piece.own()
        mask, targets = own.tokens.mask, own.tokens.targets[own.tokens.mask]
        everything = response_logits(models.policy, piece.tokens)
        logits = everything if experts is None else everything[mask[piece.tokens.mask]]
        logprobs = token_logprobs(logits, targets, temperature=temperature)
        losses, sums = objective.token_losses(
            scatter(logprobs, mask), piece.old_logprobs, piece.advantages, mask
        )
        losses = losses + scatter(
            _terms(models, own.tokens, logits, objective, temperature=temperature, seen=seen), mask
        )
        top_k = weighting.top_k if weights_of is not None else None
        stats = token_stats(logits.detach(), targets, top_k=top_k)
        if weights_of is not None:
            losses = losses * scatter(weights_of(index, stats), mask)
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
        seen.logprobs.append(logprobs.detach())
        seen.entropy.append(stats.entropy)
        seen.gap.append((logprobs.detach() - piece.old_logprobs[own.tokens.mask]).abs())
        for name, value in sums.items():
            seen.add(name, value)
    return seen


def _terms(
    models: Models,
    batch: TokenBatch,
    logits: Tensor,
    objective: Objective,
    *,
    temperature: float,
    seen: Tokens,
) -> Tensor:
    """What is added to the objective's loss of each token (N,): KL in the loss, entropy bonus."""
    terms = logits.new_zeros(logits.shape[0])
    if objective.kl.coef > 0 and objective.kl.where == "loss":
        kl = kl_to_other(models, batch, logits, objective.kl, temperature)
        terms = terms + objective.kl.coef * kl
        seen.kl.append(kl.detach())
    if objective.entropy_coef > 0:
        entropy = token_entropy(logits / temperature)
        terms = terms - objective.entropy_coef * entropy
        seen.add("entropy", entropy.detach().sum())
    return terms


def _learnable(rows: RolloutRows, objective: Objective) -> RolloutRows:
    """The rows that count: taken out before counting, masked answers leave every aggregation."""
    if objective.overlong == "keep":
        return rows
    assert rows.finished is not None, "objective.overlong=mask needs to know what was cut off"
    return rows.select(rows.finished.nonzero().squeeze(1))


def kl_to_other(
    models: Models, batch: TokenBatch, logits: Tensor, kl: Kl, temperature: float
) -> Tensor:
    """KL of each response token (N,) to the teacher or the reference, at the same temperature."""
    other = models.teacher if kl.to == "teacher" else models.reference
    assert other is not None, f"objective.kl.to={kl.to} without that model"
    with torch.no_grad():
        other_logits = response_logits(other, batch)
    if kl.needs_logits:
        return kl(logits / temperature, other_logits / temperature)
    targets = batch.targets[batch.mask]
    return kl(
        token_logprobs(logits, targets, temperature=temperature),
        token_logprobs(other_logits, targets, temperature=temperature),
    )


@torch.no_grad()
def kl_in_reward(
    models: Models, tokens: TokenBatch, kl: Kl, *, temperature: float, micro_batch: int = 0
) -> Tensor:
    """`coef *` the KL summed over each whole response (B,): what its reward is lowered by."""
    penalty = torch.zeros(tokens.mask.shape[0], dtype=torch.float64)
    for index in micro_batches(tokens, micro_batch):
        batch = tokens.select(index)
        logits = response_logits(models.policy, batch)
        per_token = kl_to_other(models, batch, logits, kl, temperature)
        penalty[index] = scatter(per_token, batch.mask).sum(dim=1).double()
    return kl.coef * penalty
