"""What the branches are computed from, and what they leave for the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch
from chord.distributed import all_rows, all_sum, world_size
from chord.losses.distillation import TeacherTokens
from chord.models.policy import Policy
from chord.weightings import Uniform, Weighting

if TYPE_CHECKING:
    from chord.models.teacher_cache import TeacherCache
    from chord.rollout.engines import Engine

Backward = Callable[[Tensor], None]


@dataclass
class Models:
    """The policy, the frozen models some terms compare it with, and what samples for it.

    `engine`: None where the policy answers itself. `cache`: the teacher's likeliest tokens on the
    expert's answers, for targets that read them from disk.
    """

    policy: Policy
    teacher: Policy | None = None
    reference: Policy | None = None
    engine: Engine | None = None
    cache: TeacherCache | None = None

    @property
    def dtype(self) -> torch.dtype:
        """What losses are computed in."""
        return self.policy.dtype


@dataclass
class ExpertRows:
    """The rows of a step that are imitated, B of them.

    `order` (B,): where a row stands in the whole step, equal ones by rank; None: by rank alone.
    `signal` (B,): each row's in [0, 1], for adaptive weights. `share` (B,): a gate's factor on each
    row's loss, not on the count it is divided by; None for 1. `teacher`: the teacher's tables for
    these rows, (B, T, K), from a cache.
    """

    tokens: TokenBatch
    signal: Tensor
    share: Tensor | None = None
    teacher: TeacherTokens | None = None
    order: Tensor | None = None


@dataclass
class RolloutRows:
    """The answers of a step's groups, B of them: the policy's own, and what experts put in.

    `old_logprobs` (B, T) of the policy's own tokens before its first update on them, at the
    sampling temperature; None in that update, whose own pass stands for them, so that every ratio
    is 1. `sampler_logprobs` (B, T): as whatever sampled the tokens had them, at the same
    temperature; None where nothing is to be compared with them. `advantages` and `signal` (B,);
    `finished` (B,) bool, false for an answer that was cut off, which `objective.overlong=mask`
    reads. `share` (B,): a gate's factor on each row's loss, not on the count it is divided by; None
    for 1. `expert` (B, T) bool: response tokens that the expert wrote, whole answers or prefixes;
    None where there are none. `correction` (B, T): what the objective's loss of each token is
    multiplied by, as another engine sampled it; None for 1. `order` (B,) as in `ExpertRows`.
    """

    tokens: TokenBatch
    old_logprobs: Tensor | None
    advantages: Tensor
    signal: Tensor
    finished: Tensor | None = None
    share: Tensor | None = None
    expert: Tensor | None = None
    correction: Tensor | None = None
    sampler_logprobs: Tensor | None = None
    order: Tensor | None = None

    def select(self, index: Tensor) -> RolloutRows:
        """Return the given rows, trimmed to the longest of them."""
        tokens = self.tokens.select(index)
        width = tokens.mask.shape[1]

        def part(table: Tensor | None) -> Tensor | None:
            return None if table is None else table[index, :width]

        return RolloutRows(
            tokens=tokens,
            old_logprobs=part(self.old_logprobs),
            advantages=self.advantages[index],
            signal=self.signal[index],
            finished=None if self.finished is None else self.finished[index],
            share=None if self.share is None else self.share[index],
            expert=part(self.expert),
            correction=part(self.correction),
            sampler_logprobs=part(self.sampler_logprobs),
            order=None if self.order is None else self.order[index],
        )

    def own(self) -> RolloutRows:
        """The same rows where only the policy's own tokens count."""
        if self.expert is None:
            return self
        return replace(self, tokens=self.tokens.within(~self.expert), expert=None)


@dataclass(kw_only=True)
class OffPolicy:
    """What is done with the expert's tokens inside groups.

    `loss`: `advantage` is -A sg(w) log p on each, counted with the policy's own tokens; `nll` is
    `coef` times the mean over them of -sg(w) log p, whatever A, counted apart; `none` leaves them
    out. log p and w are taken at temperature 1.
    """

    loss: str = "advantage"
    coef: float = 1.0
    weighting: Weighting = field(default_factory=Uniform)


@dataclass
class Tokens:
    """What the micro-batches saw, one entry for each unmasked token, all detached.

    `table` (B, T): log-probabilities of the rows' own tokens, where a later update on the same rows
    is to be compared with this one.
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
        """Add to the sum of that name."""
        self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def of_all_ranks(self) -> Tokens:
        """What the micro-batches of all ranks saw."""
        if world_size() == 1:
            return self
        names = list(self.sums)
        sums = torch.tensor([self.loss, *self.sums.values()], dtype=torch.float64)
        loss, *values = all_sum(sums).tolist()
        everyone = Tokens(loss=loss, sums=dict(zip(names, values, strict=True)))
        for name, parts in vars(self).items():
            if isinstance(parts, list) and parts:
                setattr(everyone, name, [all_rows(torch.cat(parts))[0]])
        return everyone
