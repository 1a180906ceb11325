"""Keys and values of past tokens, in a transformers cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig

from chord.models.cache import Slots


class HFCache(Slots):
    """A transformers cache with the mask of its slots; see `chord.models.policy.Cache`."""

    def __init__(
        self, config: PretrainedConfig, *, rows: int, capacity: int, device: torch.device
    ) -> None:
        super().__init__()
        self.entries = DynamicCache(config=config)
        self._rows, self._capacity, self._device = rows, capacity, device

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def device(self) -> torch.device:
        return self._device

    def mark(self, attention_mask: Tensor | None, new: int) -> Tensor | None:
        """As `Slots.mark`; ValueError if the sequence outgrows its capacity."""
        if (end := self.length + new) > self.capacity:
            raise ValueError(f"a sequence of {end} tokens does not fit a cache of {self.capacity}")
        return super().mark(attention_mask, new)

    def expand(self, group_size: int) -> HFCache:
        """The same cache, in which each row is now repeated ``group_size`` times."""
        self._take(torch.arange(self._rows, device=self._device).repeat_interleave(group_size))
        self._rows *= group_size
        if self.valid is not None:
            self.valid = self.valid.repeat_interleave(group_size, dim=0)
        return self

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, (n,) int64, in that order."""
        self._take(rows)
        self._rows = len(rows)
        if self.valid is not None:
            self.valid = self.valid[rows]

    def _take(self, rows: Tensor) -> None:
        """Rows (n,) in that order, perhaps repeated: all that layers with a state support."""
        entries: Any = self.entries
        entries.reorder_cache(rows)
