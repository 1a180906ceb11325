"""Quantities of the policy at its own tokens: log-probabilities, KL, entropy, statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.losses import Kl, Objective, token_entropy
from chord.models.models import Models
from chord.models.policy import Policy
from chord.models.scoring import Scored, pack, scatter, score, take_stats
from chord.models.sharing import policy_batches
from chord.rollout.rows import RolloutRows
from chord.step.rows import TokenLog
from chord.weightings import TokenStats, token_logprobs, token_stats


@dataclass
class TokenValues:
    """Of N sampled tokens, each (N,): log p at the sampling temperature, what is added to the
    objective's loss, statistics at temperature 1; KL and entropy where a term reads them.
    """

    logprobs: Tensor
    added: Tensor
    stats: TokenStats
    kl: Tensor | None
    entropy: Tensor | None


class Terms:
    """`Terms(models, objective, temperature=T)(scored, batch)`: the values of a micro-batch.

    The terms are those that an objective has besides its own loss: coef * KL if the KL is a loss,
    and the entropy bonus, both at the sampling temperature.
    """

    def __init__(self, models: Models, objective: Objective, *, temperature: float) -> None:
        kl = objective.kl
        self.kl = None
        if kl.coef > 0 and kl.where == "loss":
            self.kl = KlToOther(models, kl, temperature=temperature)
        self.entropy_coef = objective.entropy_coef
        self.temperature = temperature

    def __call__(
        self, scored: Scored, batch: TokenBatch, *, top_k: int | None = None
    ) -> TokenValues:
        """Values at the response tokens of `batch`, whose features are `scored`."""
        others = () if self.kl is None else (self.kl.other(batch),)

        def of_tokens(logits: Tensor, targets: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            logprobs = token_logprobs(logits, targets, temperature=self.temperature)
            stats = pack(token_stats(logits.detach(), targets, top_k=top_k))
            kl = () if self.kl is None else (self.kl(logits, logprobs, *others),)
            entropy = (token_entropy(logits / self.temperature),) if self.entropy_coef > 0 else ()
            return logprobs, *stats, *kl, *entropy

        targets = batch.targets[batch.mask]
        logprobs, *columns = scored.map(of_tokens, targets, *others)
        stats = take_stats(columns, scored.policy.vocab_size, top_k=top_k)
        kl = None if self.kl is None else columns.pop(0)
        entropy = columns.pop(0) if self.entropy_coef > 0 else None
        added = torch.zeros_like(logprobs)
        if self.kl is not None and kl is not None:
            added = added + self.kl.settings.coef * kl
        if entropy is not None:
            added = added - self.entropy_coef * entropy
        return TokenValues(logprobs, added, stats, kl, entropy)

    def record(self, values: TokenValues, seen: TokenLog) -> None:
        """Keep the values, without gradient, for the log."""
        seen.logprobs.append(values.logprobs.detach())
        seen.entropy.append(values.stats.entropy)
        if values.kl is not None:
            seen.kl.append(values.kl.detach())
        if values.entropy is not None:
            seen.add("entropy", values.entropy.detach().sum())


class KlToOther:
    """KL of each response token (n,) to the teacher or the reference, at one temperature."""

    def __init__(self, models: Models, settings: Kl, *, temperature: float) -> None:
        model = models.teacher if settings.to == "teacher" else models.reference
        assert model is not None, f"objective.kl.to={settings.to} without that model"
        self.model: Policy = model
        self.settings = settings
        self.temperature = temperature

    @torch.no_grad()
    def other(self, batch: TokenBatch) -> Tensor:
        """What is kept from the other model: its log-probabilities (N,), or features (N, width)."""
        scored = score(self.model, batch)
        if self.settings.needs_logits:
            return scored.features
        return scored.logprobs(batch.targets[batch.mask], temperature=self.temperature)

    def __call__(self, logits: Tensor, logprobs: Tensor, other: Tensor) -> Tensor:
        """From the policy's logits (n, V) and log-probabilities (n,), and the other's `other`."""
        if not self.settings.needs_logits:
            return self.settings(logprobs, other)
        with torch.no_grad():
            other_logits = self.model.head(other)
        return self.settings(logits / self.temperature, other_logits / self.temperature)


@torch.no_grad()
def kl_in_reward(
    models: Models, tokens: TokenBatch, kl: Kl, *, temperature: float, micro_batch: int = 0
) -> Tensor:
    """`coef` times the KL summed over each whole response (B,), which its reward is lowered by."""
    to_other = KlToOther(models, kl, temperature=temperature)
    penalty = torch.zeros(tokens.mask.shape[0], dtype=torch.float64, device=tokens.mask.device)

    def of_tokens(logits: Tensor, targets: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        logprobs = token_logprobs(logits, targets, temperature=temperature)
        return (to_other(logits, logprobs, other),)

    for index in micro_batches(tokens, micro_batch):
        batch = tokens.select(index)
        scored, targets = score(models.policy, batch), batch.targets[batch.mask]
        (per_token,) = scored.map(of_tokens, targets, to_other.other(batch))
        penalty[index] = scatter(per_token, batch.mask).sum(dim=1).double()
    return kl.coef * penalty


@torch.no_grad()
def own_logprobs(
    models: Models, rows: RolloutRows, *, temperature: float, micro_batch: int = 0
) -> Tensor:
    """Log-probabilities (B, T) of the policy's own tokens, in the training pass's pieces."""
    own = rows.own().tokens
    table = torch.zeros(own.mask.shape, dtype=models.dtype, device=own.mask.device)
    for index in policy_batches(models.policy, rows.tokens, micro_batch):
        piece = rows.select(index)
        batch = piece.own().tokens
        scored = score(models.policy, piece.tokens)[batch.mask[piece.tokens.mask]]
        logprobs = scored.logprobs(batch.targets[batch.mask], temperature=temperature)
        table[index, : batch.mask.shape[1]] = scatter(logprobs, batch.mask)
    return table
