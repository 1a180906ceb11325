"""The interface of a language model for training and sampling, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from chord.models.packing import Packed


class Cache(Protocol):
    """Keys and values of past tokens, extended by `Policy.hidden`."""

    def expand(self, group_size: int) -> Cache:
        """A cache in which each row is repeated ``group_size`` times in succession."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, (n,) int64, in that order."""
        ...


def in_full(logits: Tensor) -> Tensor:
    """Logits in float32 if they were computed in half precision, otherwise unchanged.

    Log-probabilities, entropies and losses are never computed in lower precision than float32.
    """
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class Policy(nn.Module, ABC):
    """A causal language model in two parts: features first, then logits only where needed."""

    head: Callable[[Tensor], Tensor]
    """Maps features (..., width) to logits (..., V), `in_full`."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Width V of the logits."""

    @property
    @abstractmethod
    def context(self) -> int:
        """The longest sequence, prompt and response together."""

    @abstractmethod
    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """Features (B, L, width) from causal attention over the real tokens.

        `attention_mask` (B, L) bool, or None if all tokens are real; with a cache, the tokens
        follow those that it holds. Positions count real tokens. Features at padding are finite but
        meaningless.
        """

    def layers(self) -> list[nn.Module]:
        """The layers, which are computed one after the other and sharded separately."""
        return []

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the logits of every next token, (B, L, V)."""
        return self.head(self.hidden(input_ids, attention_mask))

    def hidden_shared(self, input_ids: Tensor, positions: Tensor, allowed: Tensor) -> Tensor:
        """Features (G, L, width) with given positions and a given attention mask.

        `positions` (G, L) int64, `allowed` (G, L, L) bool. Only for a policy that
        `shares_prompts`.
        """
        raise NotImplementedError

    @property
    def shares_prompts(self) -> bool:
        """Whether `hidden_shared` exists; a policy that `packs` has no need of it."""
        return False

    def hidden_packed(self, packed: Packed) -> Tensor:
        """Features (N, width) of all tokens of rows. Only for a policy that `packs`."""
        raise NotImplementedError

    @property
    def packs(self) -> bool:
        """Whether `hidden_packed` exists."""
        return False

    def before_sharding(self) -> None:
        """Called once before the weights are divided among processes."""
        return

    @abstractmethod
    def new_cache(self, rows: int, capacity: int) -> Cache:
        """An empty cache for `rows` sequences of at most `capacity` tokens."""

    @property
    @abstractmethod
    def cache_bytes(self) -> int:
        """Bytes of one token in the cache: keys and values of all layers."""

    @property
    def device(self) -> torch.device:
        """The device of the weights, on which `hidden` needs its tokens."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The data type of log-probabilities: float64 if the weights are, else float32."""
        wide = next(self.parameters()).dtype == torch.float64
        return torch.float64 if wide else torch.float32
