"""The inputs of the branches, and what they leave for the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch
from chord.distributed.collectives import all_rows, all_sum, world_size
from chord.losses.distillation import TeacherTokens
from chord.rollout.mismatch import mismatch_metrics
from chord.weightings import Uniform, Weighting

if TYPE_CHECKING:
    from chord.rollout.rollouts import Rollouts

Backward = Callable[[Tensor], None]


@dataclass
class ExpertRows:
    """The B rows of a step's SFT branch.

    `order` (B,): the place of each row in the whole step, with ties in rank order; None: in rank
    order only. `signal` (B,): each row's signal in [0, 1], for adaptive weights. `share` (B,): a
    gate's factor of each row's loss, but not of the count that it is divided by; None for 1.
    `teacher`: the teacher's tables for these rows, (B, T, K), from a cache.
    """

    tokens: TokenBatch
    signal: Tensor
    share: Tensor | None = None
    teacher: TeacherTokens | None = None
    order: Tensor | None = None


@dataclass(kw_only=True)
class OffPolicy:
    """The loss of the expert's tokens inside groups.

    `loss`: `advantage` is -A sg(w) log p for each, counted together with the policy's own tokens;
    `nll` is `coef` times the mean over them of -sg(w) log p, whatever A is, with a count of its
    own; `none` leaves them out. log p and w are at temperature 1.
    """

    loss: str = "advantage"
    coef: float = 1.0
    weighting: Weighting = field(default_factory=Uniform)


@dataclass
class TokenLog:
    """What the micro-batches saw, one entry for each token in the mask, all detached.

    `table` (B, T): log-probabilities of the rows' own tokens, if later updates on the same rows are
    to be compared with this one.
    """

    loss: float = 0.0
    logprobs: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    kl: list[Tensor] = field(default_factory=list)
    sampled: list[Tensor] = field(default_factory=list)
    table: Tensor | None = None
    off_logprobs: list[Tensor] = field(default_factory=list)
    off_weights: list[Tensor] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        """Add to the sum with this name."""
        self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def of_all_ranks(self) -> TokenLog:
        """What the micro-batches of all ranks saw."""
        if world_size() == 1:
            return self
        names = list(self.sums)
        sums = torch.tensor([self.loss, *self.sums.values()], dtype=torch.float64)
        loss, *values = all_sum(sums).tolist()
        everyone = TokenLog(loss=loss, sums=dict(zip(names, values, strict=True)))
        for name, parts in vars(self).items():
            if isinstance(parts, list) and parts:
                setattr(everyone, name, [all_rows(torch.cat(parts))[0]])
        return everyone


def first_seen(rollouts: Rollouts, seen: TokenLog) -> Rollouts:
    """The rollouts after their first update, whose pass saw `seen`.

    That pass gives the log-probabilities that further updates are compared with and, if it was not
    measured before, the mismatch with the sampler.
    """
    rows = replace(rollouts.rows, old_logprobs=seen.table)
    metrics = rollouts.mismatch
    if not metrics and seen.sampled:
        metrics = mismatch_metrics(torch.cat(seen.logprobs), torch.cat(seen.sampled))
    return replace(rollouts, rows=rows, mismatch=metrics)
