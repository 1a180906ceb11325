"""Logits of a policy where a response token is predicted, and only there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from chord.data.batch import TokenBatch


class Policy(Protocol):
    """What scoring asks of a model: features first, logits where they are wanted."""

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return features, (B, L, width), of causal attention over the real tokens."""
        ...

    @property
    def head(self) -> Callable[[Tensor], Tensor]:
        """Map features (..., width) to logits (..., V)."""
        ...


def response_logits(policy: Policy, batch: TokenBatch) -> Tensor:
    """Return the logits of every response token, (N, V), in the row-major order of ``batch.mask``.

    Row i predicts ``batch.targets[batch.mask][i]``. N may be 0; the result still has a backward
    to every parameter, with zero gradients.
    """
    # The last column predicts nothing; where all rows need it least, it is not computed.
    features = policy.hidden(batch.input_ids[:, :-1], batch.attention_mask[:, :-1])
    return policy.head(features[batch.mask])


def scatter(flat: Tensor, mask: Tensor) -> Tensor:
    """Put per-token values back in their places: (N, ...) and (B, T) give (B, T, ...), else 0.

    The inverse of ``values[mask]``; gradients flow through. Worked value: [7, 8] on
    [[False, True], [True, False]] gives [[0, 7], [8, 0]].
    """
    out = flat.new_zeros((*mask.shape, *flat.shape[1:]))
    return out.index_put(tuple(mask.nonzero(as_tuple=True)), flat)
