"""A policy's logits, computed in pieces and only where a response token is predicted.

The logits of a step are by far its largest tensor: 4,096 tokens with a vocabulary of 150,000 take
2.5 GB, and each function of them takes as much again. They are never kept: functions of them are
computed piece by piece, and the backward pass computes each piece again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chord.models.packing import pack_rows
from chord.models.policy import Policy
from chord.models.sharing import share_prompts
from chord.weightings.stats import TokenStats, token_logprobs, token_stats

if TYPE_CHECKING:
    from chord.data.batch import TokenBatch

PIECE = 2**25
"""The number of logits that exist at once: 128 MB in float32."""

OfTokens = Callable[..., tuple[Tensor, ...]]


@dataclass
class Scored:
    """A policy's features (N, width) where N response tokens are predicted."""

    policy: Policy
    features: Tensor

    def __getitem__(self, keep: Tensor) -> Scored:
        """The tokens that (N,) bool `keep` marks."""
        return Scored(self.policy, self.features[keep])

    def map(self, function: OfTokens, *columns: Tensor) -> tuple[Tensor, ...]:
        """`function(logits (n, V), *columns (n, ...))`, tensors (n, ...), over all N tokens.

        The function is called on pieces of the tokens, so it must treat each token separately.
        Gradients flow to the features and to what the function reads. If there is more than one
        piece, it is called again in the backward pass.
        """
        count, size = self.features.shape[0], max(1, PIECE // self.policy.vocab_size)
        if count <= size:
            return function(self.policy.head(self.features), *columns)

        def of_piece(features: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
            return function(self.policy.head(features), *columns)

        pieces = [
            checkpoint(of_piece, *parts, use_reentrant=False, preserve_rng_state=False)
            for parts in zip(
                self.features.split(size), *(column.split(size) for column in columns), strict=True
            )
        ]
        return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))

    def stats(self, targets: Tensor, *, top_k: int | None = None) -> TokenStats:
        """`token_stats` of each target (N,)."""
        columns = self.map(lambda logits, t: pack(token_stats(logits, t, top_k=top_k)), targets)
        return take_stats(list(columns), self.policy.vocab_size, top_k=top_k)

    def logprobs(self, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
        """`token_logprobs` of each target (N,)."""
        (found,) = self.map(
            lambda logits, t: (token_logprobs(logits, t, temperature=temperature),), targets
        )
        return found


def score(policy: Policy, batch: TokenBatch) -> Scored:
    """The features of every response token, in the row-major order of ``batch.mask``.

    Entry i predicts ``batch.targets[batch.mask][i]``. N may be 0; the result still has a backward
    pass to every parameter, with zero gradients. A prompt shared by several rows is computed once,
    if that saves work.
    """
    if not batch.mask.numel():
        # Run anyway, on a token that nobody reads: other ranks may be waiting for this one.
        token = torch.zeros((1, 1), dtype=torch.int64, device=batch.input_ids.device)
        return Scored(policy, policy.hidden(token)[0, :0])
    if policy.packs:
        packed = pack_rows(batch)
        return Scored(policy, policy.hidden_packed(packed)[packed.places])
    shared = share_prompts(batch) if policy.shares_prompts else None
    if shared is not None:
        features = policy.hidden_shared(shared.input_ids, shared.positions, shared.allowed)
        return Scored(policy, features.flatten(0, 1)[shared.places])
    # The last column predicts nothing; if no row needs it, it is not computed.
    features = policy.hidden(batch.input_ids[:, :-1], batch.attention_mask[:, :-1])
    return Scored(policy, features[batch.mask])


def pack(stats: TokenStats) -> tuple[Tensor, ...]:
    """The statistics as tensors (N,), which `take_stats` reads again."""
    columns = (stats.logprobs, stats.entropy, stats.max_prob)
    return columns if stats.top_k_entropy is None else (*columns, stats.top_k_entropy)


def take_stats(columns: list[Tensor], vocab_size: int, *, top_k: int | None) -> TokenStats:
    """Take the statistics that `pack` made from the front of a list, and leave what follows.

    `top_k` is that of `token_stats`, which decides whether there is a fourth column.
    """
    logprobs, entropy, max_prob = (columns.pop(0) for _ in range(3))
    top_k_entropy = None if top_k is None else columns.pop(0)
    return TokenStats(logprobs, entropy, max_prob, vocab_size, top_k_entropy)


def scatter(flat: Tensor, mask: Tensor) -> Tensor:
    """Put values per token back into place: (N, ...) and mask (B, T) give (B, T, ...), else 0.

    The inverse of ``values[mask]``; gradients flow through. Worked value: [7, 8] on
    [[False, True], [True, False]] gives [[0, 7], [8, 0]].
    """
    out = flat.new_zeros((*mask.shape, *flat.shape[1:]))
    return out.index_put(tuple(mask.nonzero(as_tuple=True)), flat)
