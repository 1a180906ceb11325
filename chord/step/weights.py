"""The weights of a step's tokens, however the step is cut into micro-batches and ranks.

No micro-batch knows the tokens of the others. For a rule that needs them (a mean, a ranking), the
statistics of the whole step are collected first, in a separate pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed.collectives import all_rows, world_size
from chord.models.scoring import pack, scatter, score, take_stats
from chord.weightings import TokenStats, Weighting

if TYPE_CHECKING:
    from chord.models.models import Models


class StepWeights:
    """`StepWeights(...)(index, stats)`: the weights of a micro-batch's response tokens (N,).

    `tokens` and `signal` (B,) are those of all of this rank's rows; `index` are the rows of the
    micro-batch and `stats` the policy's statistics at their response tokens, in the order of the
    mask. A rule that `uses_step` is applied once, to the rows of all ranks sorted by `order` (B,),
    with ties in rank order. This is the order on a single rank, which decides between tokens that
    tie. A step that is one micro-batch on one rank needs no separate pass.
    """

    def __init__(
        self,
        models: Models,
        weighting: Weighting,
        tokens: TokenBatch,
        signal: Tensor,
        *,
        order: Tensor | None = None,
        micro_batch: int = 0,
    ) -> None:
        self.models = models
        self.weighting = weighting
        self.tokens = tokens
        self.signal = signal
        self.order = order
        one_piece = micro_batch == 0 or tokens.mask.shape[0] <= micro_batch
        in_pieces = not one_piece or world_size() > 1
        self._of_step = self._weigh_step(micro_batch) if weighting.uses_step and in_pieces else None

    def __call__(self, index: Tensor, stats: TokenStats) -> Tensor:
        batch = self.tokens.select(index)
        if self._of_step is not None:
            return self._of_step[index, : batch.mask.shape[1]][batch.mask]
        # In the rows' own order, so that ties between tokens are broken as in a step that is cut.
        order = index.argsort()
        columns = self._columns(batch, stats)[order]
        weights = self._weigh(Table(columns, batch.mask[order], self.signal[index][order]))
        return weights[order.argsort()][batch.mask]

    @torch.no_grad()
    def _weigh_step(self, micro_batch: int) -> Tensor:
        """Weights (B, T) of this rank's rows, from statistics of all micro-batches and ranks."""
        mask = self.tokens.mask
        parts = []
        for index in micro_batches(self.tokens, micro_batch):
            batch = self.tokens.select(index)
            scored = score(self.models.policy, batch)
            stats = scored.stats(batch.targets[batch.mask], top_k=self.weighting.top_k)
            parts.append((index, self._columns(batch, stats)))
        columns = parts[0][1].new_zeros(*mask.shape, parts[0][1].shape[2])
        for index, part in parts:
            columns[index, : part.shape[1]] = part
        own = Table(columns, mask, self.signal[:, None].expand(mask.shape))
        everyone, start = all_rows(own.joined())
        order = torch.arange(len(everyone), device=everyone.device)
        if self.order is not None:
            order = all_rows(self.order)[0].argsort(stable=True)
        weights = self._weigh(Table.split(everyone[order]))[order.argsort()]
        return weights[start : start + mask.shape[0], : mask.shape[1]]

    @torch.no_grad()
    def _columns(self, batch: TokenBatch, stats: TokenStats) -> Tensor:
        """The statistics that the rule reads, (b, t, S), 0 outside the response."""
        columns = [column.detach() for column in pack(stats)]
        targets = batch.targets[batch.mask]
        if self.weighting.needs_teacher:
            assert self.models.teacher is not None, "this weighting needs a teacher"
            columns += pack(score(self.models.teacher, batch).stats(targets))
        if self.weighting.needs_reference:
            assert self.models.reference is not None, "this weighting needs a reference model"
            columns.append(score(self.models.reference, batch).logprobs(targets))
        return scatter(torch.stack(columns, dim=-1), batch.mask)

    def _weigh(self, table: Table) -> Tensor:
        columns, size = list(table.columns.unbind(dim=-1)), self.models.policy.vocab_size
        policy = take_stats(columns, size, top_k=self.weighting.top_k)
        expert = take_stats(columns, size, top_k=None) if self.weighting.needs_teacher else None
        reference = columns.pop(0) if self.weighting.needs_reference else None
        return self.weighting(
            policy, table.mask, expert=expert, reference=reference, signal=table.signal
        )


@dataclass(frozen=True)
class Table:
    """What a rule reads of rows of tokens.

    `columns`: the statistics (B, T, S); `mask`: which tokens count (B, T); `signal`: of each row
    (B,), or of each of its tokens (B, T).
    """

    columns: Tensor
    mask: Tensor
    signal: Tensor

    def joined(self) -> Tensor:
        """One tensor (B, T, S + 2), as ranks exchange it; `split` is the inverse."""
        kind = self.columns.dtype
        more = torch.stack([self.mask.to(kind), self.signal.to(kind)], dim=-1)
        return torch.cat([self.columns, more], dim=-1)

    @classmethod
    def split(cls, joined: Tensor) -> Table:
        """The inverse of `joined`; rows that were added as padding have an empty mask."""
        columns, mask, signal = joined.split([joined.shape[-1] - 2, 1, 1], dim=-1)
        return cls(columns, mask.squeeze(-1) > 0, signal.squeeze(-1))
