"""Sums and tables over ranks: the identity in a single process.

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
    result = value.detach().clone()
    dist.all_reduce(result, op=operation)
    return result


def all_rows(values: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks in rank order, and where ours start; values (B,) or (B, T, ...).

    Ranks may differ in rows, and in columns T: narrower tables are widened by zeros. Worked value:
    rows [[1, 2]] here and [[3]] on the next rank give [[1, 2], [3, 0]], on both.
    """
    if world_size() == 1:
        return values, 0
    table = values if values.dim() > 1 else values.unsqueeze(1)
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
    start = sum(counts[: rank()])
    return everyone if values.dim() > 1 else everyone.squeeze(1), start
