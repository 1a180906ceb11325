"""Rows of prompts and responses without padding, each prompt once.

K responses of R tokens to a prompt of P tokens are K (P + R) tokens in separate rows, but P + K R
different ones, because causal features of a prompt are the same in each of its rows. These tokens
lie one after the other in one list. Whatever treats each token separately, which is everything but
attention, is computed on the list. For attention, the list is laid out as rows again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from chord.data.batch import TokenBatch

SIMILAR = 0.75
"""Rows are padded together for attention unless one is shorter than this share of another."""


@dataclass
class Packed:
    """N different tokens of B rows."""

    tokens: Tensor
    """(N,) int64."""
    positions: Tensor
    """(N,) int64: each token's position in its rows."""
    rows: list[Tensor]
    """Rows of similar lengths, each (b, L) int64: the numbers of their tokens, padded with 0."""
    back: Tensor
    """(N,) int64: where each token is in the flattened `rows`, one after the other."""
    places: Tensor
    """(M,) int64: the numbers of the tokens that predict the M response tokens."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Causal attention within rows: (N, heads, d) and (N, key heads, d) to (N, heads * d)."""
        mixed = []
        for rows in self.rows:
            found = F.scaled_dot_product_attention(
                _laid_out(query, rows),
                _laid_out(key, rows),
                _laid_out(value, rows),
                is_causal=True,
                enable_gqa=key.shape[1] != query.shape[1],
            )
            mixed.append(found.transpose(1, 2).flatten(0, 1))
        together = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return F.embedding(self.back, together.flatten(1))


def _laid_out(tokens: Tensor, rows: Tensor) -> Tensor:
    """(N, heads, d) as rows, (b, heads, L, d)."""
    # An embedding's backward pass adds up the gradients of a repeated token in a fixed order.
    found: Tensor = F.embedding(rows, tokens.flatten(1)).unflatten(-1, tokens.shape[1:])
    return found.transpose(1, 2)


def pack_rows(batch: TokenBatch) -> Packed:
    """The different tokens of a batch that features are needed of.

    A prompt ends at the first response token of its row. The last token of a row predicts nothing
    and is left out. Rows [5, 6 | 7, 8] and [5, 6 | 9, 8] have the tokens 5, 6, 7, 9.
    """
    device, mask = batch.input_ids.device, batch.mask
    lengths = batch.attention_mask.sum(dim=1).cpu()
    starts = torch.where(mask.any(dim=1), mask.int().argmax(dim=1) + 1, lengths.to(device)).cpu()
    # Without the last token, unless it is the only one.
    lengths = (lengths - 1).clamp_min(1)
    starts = torch.minimum(starts, lengths)
    ids = batch.input_ids.cpu().numpy()
    # The number of the first token of each row's prompt.
    first = torch.zeros_like(starts)
    known: dict[bytes, int] = {}
    total = 0
    for row, start in enumerate(starts.tolist()):
        name = ids[row, :start].tobytes()
        if name not in known:
            known[name] = total
            total += start
        first[row] = known[name]
    own = lengths - starts
    after = total + own.cumsum(0) - own
    columns = torch.arange(int(lengths.max()))
    prompts = columns < starts[:, None]
    numbers = columns + torch.where(prompts, first[:, None], (after - starts)[:, None])
    real = columns < lengths[:, None]
    numbers = numbers.masked_fill(~real, 0)
    count = total + int(own.sum())
    tokens = torch.zeros(count, dtype=torch.int64)
    tokens[numbers[real]] = batch.input_ids[:, : len(columns)].cpu()[real]
    positions = torch.zeros(count, dtype=torch.int64)
    positions[numbers[real]] = columns.expand(real.shape)[real]
    rows, back, behind = [], torch.zeros(count, dtype=torch.int64), 0
    for members in _similar(lengths):
        width = int(lengths[members].max())
        part = numbers[members, :width]
        here = real[members, :width]
        back[part[here]] = behind + here.flatten().nonzero()[:, 0]
        behind += part.numel()
        rows.append(part.to(device))
    places = numbers[mask[:, : len(columns)].cpu()]
    return Packed(
        tokens=tokens.to(device),
        positions=positions.to(device),
        rows=rows,
        back=back.to(device),
        places=places.to(device),
    )


def _similar(lengths: Tensor) -> list[Tensor]:
    """The row numbers, longest rows first, divided where a row is much shorter than the first."""
    order = lengths.argsort(descending=True, stable=True)
    found: list[Tensor] = []
    while len(order):
        near = int((lengths[order] >= SIMILAR * lengths[order[0]]).sum())
        found.append(order[:near])
        order = order[near:]
    return found
