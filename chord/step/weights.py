"""The weights of a step's tokens, however the step is cut into micro-batches and ranks.

No micro-batch knows the tokens of the others. For a rule that needs them (a mean, a ranking), the
statistics of the whole step are collected first, in a separate pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, micro_batches
from chord.distributed.collectives import all_rows, world_size
from chord.models.scoring import pack, scatter, score, unpack
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
        table = self._table(batch, stats)[order]
        weights = self._weigh(table, batch.mask[order], self.signal[index][order])
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
            parts.append((index, self._table(batch, stats)))
        table = parts[0][1].new_zeros(*mask.shape, parts[0][1].shape[2] + 2)
        for index, part in parts:
            table[index, : part.shape[1], :-2] = part
        table[..., -2] = mask.to(table.dtype)
        table[..., -1] = self.signal[:, None].to(table.dtype)
        everyone, start = all_rows(table)
        order = torch.arange(len(everyone), device=everyone.device)
        if self.order is not None:
            order = all_rows(self.order)[0].argsort(stable=True)
        everyone = everyone[order]
        weights = self._weigh(everyone[..., :-2], everyone[..., -2] > 0, everyone[..., -1])
        weights = weights[order.argsort()]
        return weights[start : start + mask.shape[0], : mask.shape[1]]

    @torch.no_grad()
    def _table(self, batch: TokenBatch, stats: TokenStats) -> Tensor:
        """Everything that the rule reads except the signal, (b, t, S), 0 outside the response."""
        columns = [column.detach() for column in pack(stats)]
        targets = batch.targets[batch.mask]
        if self.weighting.needs_teacher:
            assert self.models.teacher is not None, "this weighting needs a teacher"
            columns += pack(score(self.models.teacher, batch).stats(targets))
        if self.weighting.needs_reference:
            assert self.models.reference is not None, "this weighting needs a reference model"
            columns.append(score(self.models.reference, batch).logprobs(targets))
        return scatter(torch.stack(columns, dim=-1), batch.mask)

    def _weigh(self, table: Tensor, mask: Tensor, signal: Tensor) -> Tensor:
        columns = table.unbind(dim=-1)
        size = self.models.policy.vocab_size
        own = 3 if self.weighting.top_k is None else 4
        policy, others = unpack(columns[:own], size), columns[own:]
        expert = unpack(others[:3], size) if self.weighting.needs_teacher else None
        reference = others[-1] if self.weighting.needs_reference else None
        return self.weighting(policy, mask, expert=expert, reference=reference, signal=signal)
