"""Responses to the same prompt, placed after a single copy of it.

A group of K responses of R tokens to a prompt of P tokens takes K (P + R) tokens in separate rows,
but P + K R in one row in which no response sees another: `prompt response response ... response`,
with positions continuing from the prompt in each. Features are the same. If prompts are longer than
responses, this saves most of the forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import micro_batches, pieces

if TYPE_CHECKING:
    from chord.data.batch import TokenBatch
    from chord.models.policy import Policy

WORTH = 0.6
"""Rows stay separate unless sharing reduces the work to this share of it."""
LONG = 1000
"""The length at which attention costs as much as the rest of the model."""


@dataclass
class Shared:
    """G rows of prompts with their responses, L tokens wide."""

    input_ids: Tensor
    """(G, L) int64."""
    positions: Tensor
    """(G, L) int64: positions in the prompt, or after it in the response."""
    allowed: Tensor
    """(G, L, L) bool: whether a token (second dimension) can attend to another (third)."""
    places: Tensor
    """(N,) int64: the indices of the N response tokens' features in the flattened G * L."""


def share_prompts(batch: TokenBatch) -> Shared | None:
    """Lay out the rows of a batch by prompt; None if that would save too little.

    A prompt ends at the first response token of its row.
    """
    rows = _rows(batch)
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row.prompt), []).append(number)
    if len(groups) == len(rows):
        return None
    lengths = [
        len(prompt) + sum(len(rows[member].answer) for member in members)
        for prompt, members in groups.items()
    ]
    width = max(lengths)
    apart = max(len(row.prompt) + len(row.answer) for row in rows)
    if _work(len(groups), width) > WORTH * _work(len(rows), apart):
        return None
    return _lay_out(rows, groups, width, batch)


def policy_batches(policy: Policy, batch: TokenBatch, size: int) -> Iterator[Tensor]:
    """`micro_batches` for a policy: rows of one prompt stay together if the policy can share it."""
    return micro_batches(batch, size, together=_together(policy, batch))


def own_batches(policy: Policy, batch: TokenBatch, size: int) -> Sequence[Tensor]:
    """`policy_batches` of this rank only, which has the whole policy: others can have more."""
    return pieces(batch, size, together=_together(policy, batch))


def _together(policy: Policy, batch: TokenBatch) -> Tensor | None:
    return prompt_numbers(batch) if policy.packs or policy.shares_prompts else None


def prompt_numbers(batch: TokenBatch) -> Tensor:
    """The same number for all rows with the same prompt, (B,) int64, from 0."""
    known: dict[tuple[int, ...], int] = {}
    numbers = [known.setdefault(tuple(row.prompt), len(known)) for row in _rows(batch)]
    return torch.tensor(numbers, dtype=torch.int64, device=batch.input_ids.device)


@dataclass
class _Row:
    """A row's prompt, the tokens after it except the last, and which of its columns count."""

    prompt: list[int]
    answer: list[int]
    counted: list[int]


def _rows(batch: TokenBatch) -> list[_Row]:
    ids, real = batch.input_ids.tolist(), batch.attention_mask.sum(dim=1).tolist()
    found = []
    for tokens, length, counts in zip(ids, real, batch.mask.tolist(), strict=True):
        counted = [column for column, counts_here in enumerate(counts) if counts_here]
        # The features that predict a response token are those of the token before it.
        prompt = counted[0] + 1 if counted else length
        found.append(_Row(tokens[:prompt], tokens[prompt : length - 1], counted))
    return found


def _work(rows: int, width: int) -> float:
    return rows * width * (1 + width / LONG)


def _lay_out(
    rows: list[_Row], groups: dict[tuple[int, ...], list[int]], width: int, batch: TokenBatch
) -> Shared:
    ids, positions, segments = [], [], []
    places: list[list[int]] = [[] for _ in rows]
    for number, (prompt, members) in enumerate(groups.items()):
        line, where, segment = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for name, member in enumerate(members, start=1):
            row, start = rows[member], len(line)
            line += row.answer
            where += range(len(prompt), len(prompt) + len(row.answer))
            segment += [name] * len(row.answer)
            behind = start - len(prompt)
            places[member] = [
                number * width + (column if column < len(prompt) else column + behind)
                for column in row.counted
            ]
        padding = width - len(line)
        ids.append(line + [0] * padding)
        positions.append(where + [0] * padding)
        segments.append(segment + [-1] * padding)
    device = batch.input_ids.device
    segment_of = torch.tensor(segments, device=device)
    column = torch.arange(width, device=device)
    same = segment_of[:, :, None] == segment_of[:, None, :]
    earlier = column[:, None] >= column[None, :]
    # Padding sees itself, which affects no response.
    allowed = earlier & (same | (segment_of == 0)[:, None, :])
    return Shared(
        input_ids=torch.tensor(ids, device=device),
        positions=torch.tensor(positions, device=device),
        allowed=allowed,
        places=torch.tensor([p for row in places for p in row], dtype=torch.int64, device=device),
    )
