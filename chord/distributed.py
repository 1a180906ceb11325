"""Sums over ranks: the identity in a single process.

Counts and batch statistics have to cover every rank before the first backward, or each rank's
tokens would weigh differently.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that share an optimizer step."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


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
    result = value.detach().clone()
    dist.all_reduce(result, op=operation)
    return result


def all_rows(values: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks in rank order (ranks may differ in rows), and where ours start."""
    if world_size() == 1:
        return values, 0
    size = torch.tensor([values.shape[0]])
    sizes = [torch.zeros_like(size) for _ in range(world_size())]
    dist.all_gather(sizes, size)
    longest = int(max(int(s) for s in sizes))
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: values.shape[0]] = values
    gathered = [torch.zeros_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    rows = torch.cat([part[: int(size)] for part, size in zip(gathered, sizes, strict=True)])
    return rows, sum(int(s) for s in sizes[: dist.get_rank()])
