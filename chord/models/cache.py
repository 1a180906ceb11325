"""Keys and values of past tokens, kept while sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor


class Slots(ABC):
    """Which slots of a cache hold a real token; there is one slot per column of the padded input.

    ``valid`` stays None until padding is seen, because attention without a mask is faster.
    """

    def __init__(self) -> None:
        self.length = 0
        """Slots filled so far, the same for all rows."""
        self.valid: Tensor | None = None
        """(rows, capacity) bool."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of sequences."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Maximum number of tokens in a sequence."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The mask's device."""

    def mark(self, attention_mask: Tensor | None, new: int) -> Tensor | None:
        """Record which of the ``new`` slots are real; return (rows, slots), or None if all are."""
        end = self.length + new
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


class Decodes(Protocol):
    """What computes the tokens that a cache is for."""

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """Features (B, L, width), see `chord.models.policy.Policy.hidden`."""
        ...


class KVCache(Slots):
    """Preallocated keys and values of every layer, filled from the left.

    One slot per column of the padded input; ``valid`` marks the slots that hold a real token and
    stays None until padding is seen, because attention without a mask is faster. For use without
    gradients only.
    """

    def __init__(self, storage: Tensor, decoder: Decodes) -> None:
        self.storage = storage
        """(layers, 2, rows, heads, capacity, head width): keys, then values."""
        self.decoder = decoder
        """What the policy was when the cache was made: its weights stay the same while it samples,
        so they are put together only once."""
        super().__init__()

    @classmethod
    def create(
        cls,
        decoder: Decodes,
        weight: Tensor,
        *,
        layers: int,
        rows: int,
        key_heads: int,
        width: int,
        capacity: int,
    ) -> KVCache:
        """Allocate an empty cache for ``rows`` sequences of at most ``capacity`` tokens.

        It is where `weight` is, and of its type or that of mixed precision.
        """
        kind, dtype = weight.device.type, weight.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        shape = (layers, 2, rows, key_heads, capacity, width)
        return cls(torch.empty(shape, dtype=dtype, device=weight.device), decoder)

    @property
    def rows(self) -> int:
        return self.storage.shape[2]

    @property
    def capacity(self) -> int:
        return self.storage.shape[4]

    @property
    def device(self) -> torch.device:
        return self.storage.device

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's new keys and values; return all of them, (rows, heads, slots, width).

        Arguments are (rows, heads, new, width). Call `advance` once every layer has stored.
        """
        end = self.length + key.shape[2]
        keys, values = self.storage[layer, 0], self.storage[layer, 1]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def expand(self, group_size: int) -> KVCache:
        """Return a cache in which each row is repeated ``group_size`` times in succession."""
        layers, two, rows, heads, capacity, width = self.storage.shape
        grown = KVCache(
            self.storage.new_empty((layers, two, rows * group_size, heads, capacity, width)),
            self.decoder,
        )
        grown.storage.unflatten(2, (rows, group_size))[..., : self.length, :] = self.storage[
            ..., : self.length, :
        ].unsqueeze(3)
        grown.length = self.length
        if self.valid is not None:
            grown.valid = self.valid.repeat_interleave(group_size, dim=0)
        return grown

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, (n,) int64, in that order; the others leave the cache.

        Only rows that change places are copied.
        """
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        filled = self.storage[..., : self.length, :]
        filled[:, :, moved] = filled[:, :, rows[moved]]
        self.storage = self.storage[:, :, : len(rows)]
        if self.valid is not None:
            self.valid = self.valid[rows]
