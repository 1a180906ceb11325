"""Keys and values of past tokens, in the cache of transformers."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig


class HFCache:
    """A cache of transformers with the mask of its slots; see `chord.models.policy.Cache`.

    ``valid`` marks the slots that hold a real token and stays None until padding is seen, because
    attention without a mask is faster.
    """

    def __init__(
        self, config: PretrainedConfig, *, rows: int, capacity: int, device: torch.device
    ) -> None:
        self.entries = DynamicCache(config=config)
        self.rows = rows
        self.capacity = capacity
        self.device = device
        self.length = 0
        """Slots filled so far, the same for all rows."""
        self.valid: Tensor | None = None
        """(rows, capacity) bool."""

    def mark(self, attention_mask: Tensor | None, new: int) -> Tensor | None:
        """Record which of the ``new`` slots are real; return (rows, slots), None if all are."""
        end = self.length + new
        if end > self.capacity:
            raise ValueError(f"a sequence of {end} tokens does not fit a cache of {self.capacity}")
        if self.valid is None and attention_mask is not None and not bool(attention_mask.all()):
            shape = (self.rows, self.capacity)
            self.valid = torch.ones(shape, dtype=torch.bool, device=self.device)
        if self.valid is None:
            return None
        self.valid[:, self.length : end] = True if attention_mask is None else attention_mask
        return self.valid[:, :end]

    def advance(self, new: int) -> None:
        """Count ``new`` more slots as filled."""
        self.length += new

    def expand(self, group_size: int) -> HFCache:
        """The same cache, in which each row now stands ``group_size`` times."""
        self.entries.batch_repeat_interleave(group_size)
        self.rows *= group_size
        if self.valid is not None:
            self.valid = self.valid.repeat_interleave(group_size, dim=0)
        return self

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, (n,) int64, in that order."""
        self.entries.batch_select_indices(rows)
        self.rows = len(rows)
        if self.valid is not None:
            self.valid = self.valid[rows]
