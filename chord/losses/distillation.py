"""Divergences from a teacher's distribution, over the whole vocabulary or its K likeliest tokens.

A truncated distribution keeps the probability of all other tokens as one last entry, so both models
are compared on K + 1 events. Merging events can only lower a divergence (data processing
inequality), so the result is a lower bound of the full divergence, and equal to it if the rest is
one token or none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class TeacherTokens:
    """A teacher's next-token log-probabilities at N positions.

    If `ids` is None, `logprobs` is (..., V). Otherwise `ids` (..., K) are the likeliest tokens and
    `logprobs` (..., K + 1) their log-probabilities, with that of all other tokens together as the
    last entry; it is (..., K) if K = V, as there are no others.
    """

    logprobs: Tensor
    ids: Tensor | None = None

    def __getitem__(self, index: Any) -> TeacherTokens:
        """Both tensors at the same index."""
        return TeacherTokens(self.logprobs[index], None if self.ids is None else self.ids[index])


def keep_likeliest(logprobs: Tensor, k: int) -> TeacherTokens:
    """The K likeliest tokens of (..., V) log-probabilities; K is at most V.

    For P = (.5, .3, .2) and k = 1: ids (0), log-probabilities (ln .5, ln .5).
    """
    assert k >= 1, f"k={k}: at least one token is kept"
    ids = logprobs.topk(min(k, logprobs.shape[-1]), dim=-1).indices
    return TeacherTokens(merge_rest(logprobs, ids), ids)


def merge_rest(logprobs: Tensor, ids: Tensor) -> Tensor:
    """The log-probabilities of `ids` (..., K), followed by that of all other tokens together.

    logprobs (..., V) -> (..., K + 1), or (..., K) if K = V. P = (.5, .3, .2), ids (1):
    (ln .3, ln .7).
    """
    # Here and below: torch takes seconds to load, and settings are read without it.
    import torch

    kept = logprobs.gather(-1, ids)
    if ids.shape[-1] == logprobs.shape[-1]:
        return kept
    rest = logprobs.scatter(-1, ids, -math.inf).logsumexp(dim=-1, keepdim=True)
    return torch.cat([kept, rest], dim=-1)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) = sum p (log p - log q) of log-probabilities over the last dimension.

    An event with probability 0 under `first` adds 0, whatever `second` is.
    (.5, .5) against (.75, .25): .5 ln(2/3) + .5 ln 2 = .14384.
    """
    p = first.exp()
    return (p * (first - second).masked_fill(p == 0, 0.0)).sum(dim=-1)


def jensen_shannon(teacher: Tensor, student: Tensor, *, beta: float) -> Tensor:
    """beta KL(Q || M) + (1 - beta) KL(P || M), with M = beta Q + (1 - beta) P and Q the teacher.

    The generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649, eq. 1), from
    log-probabilities (..., V). Divided by beta it tends to KL(Q || P) as beta -> 0; divided by
    1 - beta, to KL(P || Q) as beta -> 1. Raises ValueError for beta outside (0, 1).

    Q = (1, 0), P = (0, 1), beta = .5: ln 2 = .69315. Q = (.75, .25), P = (.5, .5), beta = .5:
    M = (.625, .375), .5 (.75 ln 1.2 + .25 ln(2/3)) + .5 (.5 ln .8 + .5 ln(4/3)) = .03382.
    """
    if not 0 < beta < 1:
        raise ValueError(f"target.beta={beta}: must be within (0, 1)")
    mixture = (teacher + math.log(beta)).logaddexp(student + math.log1p(-beta))
    return beta * divergence(teacher, mixture) + (1 - beta) * divergence(student, mixture)
