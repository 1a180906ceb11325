"""Sums and tables over ranks: the identity in a single process.

Counts and batch statistics have to cover every rank before the first backward, or each rank's
tokens would weigh differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
S = TypeVar("S", bound=Sequence[Any])


_alone = False


def world_size() -> int:
    """Number of processes that share an optimizer step."""
    if _alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process computes as if there were no other, which wait for it meanwhile."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def told_by_the_first(text: str) -> str:
    """The first rank's text, on all ranks."""
    if world_size() == 1:
        return text
    found = [text]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def all_sum(value: Tensor) -> Tensor:
    """The sum of a detached tensor over all ranks, the same on each."""
    return _reduced(value, dist.ReduceOp.SUM)


def all_min(value: Tensor) -> Tensor:
    """The smallest over all ranks, elementwise."""
    return _reduced(value, dist.ReduceOp.MIN)


def all_max(value: Tensor) -> Tensor:
    """The largest over all ranks, elementwise."""
    return _reduced(value, dist.ReduceOp.MAX)


def _reduced(value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if world_size() == 1:
        return value
    result = value.detach().to(_wire(), copy=True)
    dist.all_reduce(result, op=operation)
    return result.to(value.device)


def _wire() -> torch.device:
    """Where tensors must be to be sent: NCCL takes those of a GPU only."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def part_of(items: S) -> S:
    """Our part of what all ranks hold: contiguous, the first ranks take one more.

    Three items on two ranks: two and one.
    """
    start, end = (-(-len(items) * number // world_size()) for number in (rank(), rank() + 1))
    return items[start:end]  # type: ignore[return-value]  # a slice is of the same kind


def joined(items: Sequence[T]) -> list[T]:
    """The items of all ranks in rank order: what `part_of` has parted."""
    if world_size() == 1:
        return list(items)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def all_rows(values: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks in rank order, and where ours start; values (B,) or (B, T, ...).

    Ranks may differ in rows, and in columns T: narrower tables are widened by zeros. Worked value:
    rows [[1, 2]] here and [[3]] on the next rank give [[1, 2], [3, 0]], on both.
    """
    if world_size() == 1:
        return values, 0
    table = (values if values.dim() > 1 else values.unsqueeze(1)).to(_wire())
    own = torch.tensor(table.shape[:2], device=table.device)
    sizes = [torch.zeros_like(own) for _ in range(world_size())]
    dist.all_gather(sizes, own)
    rows, width = torch.stack(sizes).amax(dim=0).tolist()
    padded = table.new_zeros(rows, width, *table.shape[2:])
    padded[: table.shape[0], : table.shape[1]] = table
    gathered = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    counts = [int(size[0]) for size in sizes]
    everyone = torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])
    everyone = everyone.to(values.device)
    start = sum(counts[: rank()])
    return everyone if values.dim() > 1 else everyone.squeeze(1), start
