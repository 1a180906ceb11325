"""Collective operations over ranks; in a single process they are the identity.

Counts and batch statistics must cover all ranks before the first backward pass, or tokens of
different ranks would have different weights.
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


# State: whether this process has left the others for a while. torch's process group, which it
# stands beside, is state of the process as well.
_alone = False


def world_size() -> int:
    """Return the number of processes that share an optimizer step."""
    if _alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Let this process compute as if it were the only one; the others must wait for it."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def told_by_the_first(text: str) -> str:
    """Return the first rank's text on all ranks."""
    if world_size() == 1:
        return text
    found = [text]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def all_sum(value: Tensor) -> Tensor:
    """Return the elementwise sum of a detached tensor over all ranks, on each of them."""
    return _reduced(value, dist.ReduceOp.SUM)


def all_min(value: Tensor) -> Tensor:
    """Return the elementwise minimum over all ranks."""
    return _reduced(value, dist.ReduceOp.MIN)


def all_max(value: Tensor) -> Tensor:
    """Return the elementwise maximum over all ranks."""
    return _reduced(value, dist.ReduceOp.MAX)


def _reduced(value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if world_size() == 1:
        return value
    result = value.detach().to(_wire(), copy=True)
    dist.all_reduce(result, op=operation)
    return result.to(value.device)


def _wire() -> torch.device:
    """The device that tensors must be on to be sent: NCCL only accepts those on a GPU."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def part_of(items: S) -> S:
    """Return this rank's part of `items`, which all ranks have; some parts have one item more.

    The parts are contiguous. Three items on two ranks: two and one.
    """
    start, end = (-(-len(items) * number // world_size()) for number in (rank(), rank() + 1))
    return items[start:end]  # type: ignore[return-value]  # a slice is of the same kind


def joined(items: Sequence[T]) -> list[T]:
    """Return the items of all ranks in rank order: the inverse of `part_of`."""
    if world_size() == 1:
        return list(items)
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def all_rows(values: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all ranks in rank order, and the index of this rank's first row.

    `values` is (B,) or (B, T, ...). B and T may differ between ranks: narrower tables are padded
    with zeros. Rows [[1, 2]] here and [[3]] on the next rank give [[1, 2], [3, 0]] on both.
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
