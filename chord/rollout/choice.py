"""From logits to tokens: inverse-CDF sampling, truncation, and the greedy choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True)
class Sampler:
    """Turns logits into tokens."""

    stops: Tensor
    """The tokens that end a response."""
    temperature: float
    top_k: int
    top_p: float

    def __call__(
        self, logits: Tensor, uniforms: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return token, log-probability and entropy of each row, (R,), from logits (R, V).

        The entropy is at temperature 1.
        """
        at_one = None
        if self.temperature != 1:
            plain = logits.log_softmax(dim=-1)
            at_one = _entropy(plain.exp(), plain)
            logits = logits / self.temperature
        logprobs = logits.log_softmax(dim=-1)
        probs = logprobs.exp()
        if uniforms is None:
            tokens = logprobs.argmax(dim=-1)
        else:
            tokens = inverse_cdf(truncate(probs, top_k=self.top_k, top_p=self.top_p), uniforms)
        chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
        entropies = _entropy(probs, logprobs)
        return tokens, chosen, entropies, entropies if at_one is None else at_one


def _entropy(probs: Tensor, logprobs: Tensor) -> Tensor:
    # 0 * -inf is NaN; a probability of 0 adds nothing.
    return -(probs * logprobs.clamp_min(-1e4)).sum(dim=-1)


def inverse_cdf(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Return the first index whose cumulative share of probs exceeds the uniform, (R,).

    ``probs`` (R, V) need not sum to 1; an index of probability 0 is never returned. Worked value:
    probs [.2, .3, .5] and u = .2 give 1.
    """
    cumulative = probs.double().cumsum(dim=-1)
    # Divided by itself, the last entry is exactly 1, so a uniform below 1 always finds an index.
    cumulative = cumulative / cumulative[:, -1:]
    return (cumulative <= uniforms[:, None]).sum(dim=-1)


def truncate(probs: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Set probabilities outside the k likeliest tokens, or the smallest set of mass top_p, to 0.

    Tokens that are as probable as the last one kept are kept too. The result is not renormalised.
    """
    if 0 < top_k < probs.shape[-1]:
        least = probs.topk(top_k, dim=-1).values[:, -1:]
        probs = probs.where(probs >= least, 0.0)
    if top_p < 1:
        ordered = probs.sort(dim=-1, descending=True).values
        before = ordered.cumsum(dim=-1) - ordered
        needed = before < top_p * ordered.sum(dim=-1, keepdim=True)
        least = ordered.where(needed, float("inf")).amin(dim=-1, keepdim=True)
        probs = probs.where(probs >= least, 0.0)
    return probs
