"""The gradient of each branch, cut into micro-batches without changing it.

Both functions add `share * loss` of their branch to the parameters' gradients, dividing by counts
taken over all micro-batches and ranks before the first backward. They return what the log needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed import all_sum, world_size
from chord.losses import Kl, Objective, aggregate, denominator, sft_loss, token_entropy
from chord.models.scoring import response_logits, scatter
from chord.models.transformer import Transformer
from chord.step_weights import StepWeights
from chord.weightings import Weighting, token_logprobs, token_stats

Backward = Callable[[Tensor], None]


@dataclass
class ExpertRows:
    """Expert pairs of a step: tokens, and each row's signal in [0, 1] for adaptive weights (B,)."""

    tokens: TokenBatch
    signal: Tensor


@dataclass
class RolloutRows:
    """The policy's own samples of a step.

    `old_logprobs` (B, T) of the sampled tokens when they were sampled, at the sampling
    temperature; `advantages` and `signal` (B,); `finished` (B,) bool, false for an answer that was
    cut off, which `objective.overlong=mask` reads.
    """

    tokens: TokenBatch
    old_logprobs: Tensor
    advantages: Tensor
    signal: Tensor
    finished: Tensor | None = None

    def select(self, index: Tensor) -> RolloutRows:
        """Return the given rows, trimmed to the longest of them."""
        tokens = self.tokens.select(index)
        return RolloutRows(
            tokens=tokens,
            old_logprobs=self.old_logprobs[index, : tokens.mask.shape[1]],
            advantages=self.advantages[index],
            signal=self.signal[index],
            finished=None if self.finished is None else self.finished[index],
        )


@dataclass
class Models:
    """The policy, and the frozen models some terms compare it with."""

    policy: Transformer
    teacher: Transformer | None = None
    reference: Transformer | None = None


@dataclass
class Tokens:
    """What the micro-batches saw, one entry for each unmasked token, all detached."""

    loss: float = 0.0
    logprobs: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    kl: list[Tensor] = field(default_factory=list)
    gap: list[Tensor] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        """Add to the sum of that name."""
        self.sums[name] = self.sums.get(name, 0.0) + float(value)


def add_sft_gradient(
    models: Models,
    rows: ExpertRows,
    weighting: Weighting,
    *,
    share: float,
    micro_batch: int = 0,
    backward: Backward = Tensor.backward,
) -> Tokens:
    """Add the gradient of `share * sum(w nll) / N`, N the expert tokens of the whole step."""
    seen = Tokens()
    total = all_sum(denominator(rows.tokens.mask))
    weights_of = StepWeights(models, weighting, rows.tokens, rows.signal, micro_batch=micro_batch)
    for index in micro_batches(rows.tokens, micro_batch):
        batch = rows.tokens.select(index)
        logits = response_logits(models.policy, batch)
        stats = token_stats(logits, batch.targets[batch.mask], top_k=weighting.top_k)
        weights = weights_of(index, stats)
        everywhere = torch.ones_like(stats.logprobs, dtype=torch.bool)
        loss = sft_loss(stats.logprobs, weights, everywhere, total=total)
        backward(share * world_size() * loss)
        seen.loss += float(loss.detach())
        seen.logprobs.append(stats.logprobs.detach())
        seen.weights.append(weights)
    return seen


def add_rl_gradient(
    models: Models,
    rows: RolloutRows,
    objective: Objective,
    weighting: Weighting,
    *,
    share: float,
    temperature: float,
    max_length: int,
    micro_batch: int = 0,
    backward: Backward = Tensor.backward,
) -> Tokens:
    """Add the gradient of `share *` the objective over the step's rollouts, with all its terms."""
    seen = Tokens()
    rows = _learnable(rows, objective)
    total = all_sum(
        denominator(rows.tokens.mask, aggregation=objective.aggregation, max_length=max_length)
    )
    weights_of = None
    if weighting.apply_to == "both":
        weights_of = StepWeights(
            models, weighting, rows.tokens, rows.signal, micro_batch=micro_batch
        )
    for index in micro_batches(rows.tokens, micro_batch):
        batch = rows.tokens.select(index)
        mask, targets = batch.mask, batch.targets[batch.mask]
        logits = response_logits(models.policy, batch)
        logprobs = token_logprobs(logits, targets, temperature=temperature)
        old = rows.old_logprobs[index, : mask.shape[1]]
        losses, sums = objective.token_losses(
            scatter(logprobs, mask), old, rows.advantages[index], mask
        )
        losses = losses + scatter(
            _terms(models, batch, logits, objective, temperature=temperature, seen=seen), mask
        )
        top_k = weighting.top_k if weights_of is not None else None
        stats = token_stats(logits.detach(), targets, top_k=top_k)
        if weights_of is not None:
            losses = losses * scatter(weights_of(index, stats), mask)
        loss = aggregate(losses, mask, aggregation=objective.aggregation, total=total)
        backward(share * world_size() * loss)
        seen.loss += float(loss.detach())
        seen.logprobs.append(logprobs.detach())
        seen.entropy.append(stats.entropy)
        seen.gap.append((logprobs.detach() - old[mask]).abs())
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
