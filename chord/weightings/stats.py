"""Statistics of a model at each token, which weightings read, and statistics over tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class TokenStats:
    """Statistics of one model at each token, shape (..., T).

    `logprobs`: log p of the target token, the only field with a gradient; `entropy`: of the whole
    distribution, in nats; `max_prob`: its largest probability; `vocab_size`: V; `top_k_entropy`:
    entropy of its K largest probabilities, scaled to sum to 1, if requested.
    """

    logprobs: Tensor
    entropy: Tensor
    max_prob: Tensor
    vocab_size: int
    top_k_entropy: Tensor | None = None

    @property
    def relative_entropy(self) -> Tensor:
        """Entropy divided by its largest possible value ln V, in [0, 1]."""
        return (self.entropy / math.log(max(self.vocab_size, 2))).clamp(0.0, 1.0)


def token_stats(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, top_k: int | None = None
) -> TokenStats:
    """Statistics of softmax(logits / temperature) at each target; logits (..., V), targets (...).

    Weights are always read at temperature 1; the sampling temperature belongs to the RL ratio only
    (`token_logprobs`). Everything goes through log-softmax, so logits hundreds apart stay finite.
    `top_k` asks for the entropy of the min(top_k, V) largest probabilities.
    For logits (0, 0) and target 0: log p = -ln 2, entropy ln 2, max_prob .5.
    """
    logprobs = _log_softmax(logits, temperature)
    constant = logprobs.detach()
    distribution = constant.exp()
    return TokenStats(
        logprobs=_pick(logprobs, targets),
        entropy=_entropy(distribution),
        max_prob=distribution.amax(dim=-1),
        vocab_size=logits.shape[-1],
        top_k_entropy=None if top_k is None else _top_k_entropy(constant, top_k),
    )


def token_logprobs(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of each target: logits (..., V), targets (...) -> (...).

    For logits (0, 2), target 1 and temperature 2 it is 1 - ln(1 + e) = -.31326.
    """
    return _pick(_log_softmax(logits, temperature), targets)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    assert temperature > 0, "temperature 0 is greedy decoding and has no log-probabilities"
    return (logits if temperature == 1.0 else logits / temperature).log_softmax(dim=-1)


def _pick(logprobs: Tensor, targets: Tensor) -> Tensor:
    return logprobs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _entropy(distribution: Tensor) -> Tensor:
    # xlogy, because 0 log 0 is 0 where a probability underflows.
    return -distribution.xlogy(distribution).sum(dim=-1)


def _top_k_entropy(logprobs: Tensor, k: int) -> Tensor:
    top = logprobs.topk(min(k, logprobs.shape[-1]), dim=-1).values
    return _entropy(top.softmax(dim=-1))


def minmax_signal(
    scores: Tensor, *, low: Tensor | float | None = None, high: Tensor | float | None = None
) -> Tensor:
    """n = (|s| - low) / (high - low) in [0, 1], and 0 where all scores are equal; any shape.

    `low` and `high` are the smallest and largest |s| of the whole optimizer step. They are taken
    from `scores` when not given, which is right only if those are all scores of the step.
    `minmax_signal([-1., .5, 0.])` is (1, .5, 0).
    """
    magnitude = scores.detach().abs()
    if not magnitude.is_floating_point():
        magnitude = magnitude.double()
    if magnitude.numel() == 0:
        return magnitude
    floor = magnitude.min() if low is None else magnitude.new_tensor(float(low))
    width = (magnitude.max() if high is None else magnitude.new_tensor(float(high))) - floor
    return ((magnitude - floor) / width.masked_fill(width <= 0, math.inf)).clamp(0.0, 1.0)


def weight_mean(weights: Tensor, mask: Tensor) -> Tensor:
    """Sum of the weights over the number of True in mask, 0 for an empty mask; both (..., T).

    Weights (.25, .09, .5), the last one masked: .17.
    """
    return weights.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of each row's unmasked values, at every place of the row; both (..., T).

    Values (1, 3, 9), the last one masked: (2, 2, 2); 0 where a row has none.
    """
    total = values.masked_fill(~mask, 0.0).sum(dim=-1, keepdim=True)
    return (total / mask.sum(dim=-1, keepdim=True).clamp(min=1)).expand(values.shape)
