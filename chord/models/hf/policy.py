"""A causal language model of transformers in two parts: features first, logits where needed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from chord.errors import ConfigError
from chord.models.cache import KVCache
from chord.models.decoder import is_right_padded
from chord.models.hf.cache import HFCache
from chord.models.hf.fused import Fused
from chord.models.layers import Layer
from chord.models.packing import Packed
from chord.models.policy import Cache, Policy, in_full

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STATES = "cache_params"
"""A cache that holds only states, as in Mamba."""


class HFPolicy(Policy):
    """`model` as loaded, with adapters if there are any.

    Logits are float32 if the weights are in half precision. It must stay in evaluation mode, in
    which no layer drops anything.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        context: int,
        adapted: bool = False,
        shares: bool = False,
        fused: Fused | None = None,
        packs: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.adapted = adapted
        self._shares = shares
        self.fused = fused
        """Samples instead of transformers, if there is one."""
        self._packs = packs and fused is not None
        self.compiled = False
        self._context = context

    @property
    def causal(self) -> PreTrainedModel:
        """The model itself, whose layers contain the adapters."""
        model: Any = self.model
        found: PreTrainedModel = model.get_base_model() if self.adapted else model
        return found

    @property
    def vocab_size(self) -> int:
        head: Any = self.causal.get_output_embeddings()
        return int(head.weight.shape[0])

    @property
    def context(self) -> int:
        return self._context

    @property
    def cache_bytes(self) -> int:
        if self._cache_name == STATES:
            return 0  # of the same size for any number of tokens
        settings = self.causal.config.get_text_config()
        heads = getattr(settings, "num_key_value_heads", None) or settings.num_attention_heads
        width = getattr(settings, "head_dim", None)
        width = width or settings.hidden_size // settings.num_attention_heads
        size = next(self.parameters()).element_size()
        return int(2 * settings.num_hidden_layers * heads * width * size)

    def layers(self) -> list[nn.Module]:
        names = set(self.causal._no_split_modules or ())
        return [part for part in self.causal.modules() if type(part).__name__ in names]

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the last layer's normalised features, (B, L, width).

        Raises ConfigError if a sequence is longer than the model's context.
        """
        if isinstance(cache, KVCache):
            return cache.decoder.hidden(input_ids, attention_mask, cache)
        if self.fused is not None and self.packs:
            return self.fused().hidden(input_ids, attention_mask, None)
        decoder: Any = self.causal.get_decoder()
        new = input_ids.shape[1]
        if cache is None:
            # No real token sees the padding after it: plain causal attention is enough.
            valid = None if is_right_padded(attention_mask) else attention_mask
            past = 0
            arguments: dict[str, Any] = {"use_cache": False}
        else:
            assert isinstance(cache, HFCache), "a cache of another model"
            past, valid = cache.length, cache.mark(attention_mask, new)
            arguments = {"use_cache": True, self._cache_name: cache.entries}
        longest = past + new if valid is None else int(valid.sum(dim=1).max())
        if longest > self.context:
            raise ConfigError(
                f"model.context={self.context}: a sequence of {longest} tokens does not fit"
            )
        if valid is not None:
            positions = (valid.long().cumsum(dim=1) - 1).clamp_min(0)[:, past:]
            seen = valid[:, past:] if self._cache_name == STATES else valid
            arguments |= {"attention_mask": seen.long(), "position_ids": positions}
        with nullcontext() if cache is None else self._as_written():
            features: Tensor = decoder(input_ids=input_ids, **arguments).last_hidden_state
        if cache is not None:
            cache.advance(new)
        return features

    @cached_property
    def _cache_name(self) -> str:
        """The name of the model's cache argument; layers without attention see only new tokens."""
        # Needed for each sampled token, and slow to find out.
        decoder: Any = self.causal.get_decoder()
        known = inspect.signature(decoder.forward).parameters
        return STATES if STATES in known else "past_key_values"

    def hidden_shared(self, input_ids: Tensor, positions: Tensor, allowed: Tensor) -> Tensor:
        """Features (G, L, width) of tokens with given positions, see `Policy`."""
        decoder: Any = self.causal.get_decoder()
        dtype = next(self.parameters()).dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        mask.masked_fill_(~allowed, torch.finfo(dtype).min)
        output = decoder(
            input_ids=input_ids,
            attention_mask=mask[:, None],
            position_ids=positions,
            use_cache=False,
        )
        features: Tensor = output.last_hidden_state
        return features

    @property
    def packs(self) -> bool:
        """True if chord's own decoder computes the model in training too."""
        return self._packs

    def before_sharding(self) -> None:
        """Leave the layers to transformers: only as modules are they gathered when needed."""
        self._packs = False

    def hidden_packed(self, packed: Packed) -> Tensor:
        assert self.fused is not None
        return self.fused().packed(packed)

    @property
    def shares_prompts(self) -> bool:
        """True if a trial at loading found that sharing changes nothing."""
        return self._shares

    def head(self, features: Tensor) -> Tensor:
        """Logits (..., V) from features (..., width)."""
        head: Any = self.causal.get_output_embeddings()
        logits = in_full(head(features))
        cap = getattr(self.causal.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def new_cache(self, rows: int, capacity: int) -> KVCache | HFCache:
        """An empty cache; that of transformers grows as it is filled."""
        if self.fused is not None:
            decoder = self.fused()
            first = decoder.layers[0]
            assert isinstance(first, Layer)
            width = len(first.qkv) // (first.heads + 2 * first.key_heads)
            return KVCache.create(
                decoder,
                decoder.embedding,
                layers=len(decoder.layers),
                rows=rows,
                key_heads=first.key_heads,
                width=width,
                capacity=capacity,
            )
        return HFCache(self.causal.config, rows=rows, capacity=capacity, device=self.device)

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """Context in which adapters are off, as before training; no effect without adapters."""
        model: Any = self.model
        with model.disable_adapter() if self.adapted else nullcontext():
            yield

    def compile_layers(self) -> None:
        """Compile the layers, one after the other the same code, for passes without a cache."""
        for layer in self.layers():
            layer.compile(dynamic=True)
        self.compiled = True

    def _as_written(self) -> AbstractContextManager[Any]:
        """Run uncompiled: each layer's cache would be compiled separately, at each length."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


class BasePolicy(Policy):
    """A policy's model with its adapters off: a reference that needs no memory of its own."""

    def __init__(self, policy: HFPolicy) -> None:
        super().__init__()
        # Kept in a list, so that it is not a submodule: it is trained and saved elsewhere.
        self._policy = [policy]

    def _apply(self, fn: Any, recurse: bool = True) -> BasePolicy:
        """Moving it moves the policy, whose weights it shares."""
        policy: Any = self.policy
        policy._apply(fn, recurse)
        return self

    @property
    def policy(self) -> HFPolicy:
        """The adapted policy."""
        return self._policy[0]

    @property
    def vocab_size(self) -> int:
        return self.policy.vocab_size

    @property
    def context(self) -> int:
        return self.policy.context

    @property
    def cache_bytes(self) -> int:
        return self.policy.cache_bytes

    @property
    def device(self) -> torch.device:
        return self.policy.device

    @property
    def dtype(self) -> torch.dtype:
        return self.policy.dtype

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        with self.policy.without_adapters():
            return self.policy.hidden(input_ids, attention_mask, cache=cache)

    def hidden_shared(self, input_ids: Tensor, positions: Tensor, allowed: Tensor) -> Tensor:
        with self.policy.without_adapters():
            return self.policy.hidden_shared(input_ids, positions, allowed)

    @property
    def packs(self) -> bool:
        return self.policy.packs

    def hidden_packed(self, packed: Packed) -> Tensor:
        with self.policy.without_adapters():
            return self.policy.hidden_packed(packed)

    @property
    def shares_prompts(self) -> bool:
        return self.policy.shares_prompts

    def head(self, features: Tensor) -> Tensor:
        """Logits (..., V); an adapter on the head is off too."""
        with self.policy.without_adapters():
            return self.policy.head(features)

    def new_cache(self, rows: int, capacity: int) -> KVCache | HFCache:
        with self.policy.without_adapters():
            return self.policy.new_cache(rows, capacity)
