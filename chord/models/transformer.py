"""A small decoder-only transformer over characters, without biases; its layers are Llama's.

Embedding and head are separate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from chord.models.cache import KVCache
from chord.models.config import TransformerConfig
from chord.models.decoder import Decoder
from chord.models.layers import Attend, Layer
from chord.models.packing import Packed
from chord.models.policy import Cache, Policy, in_full

__all__ = ["KVCache", "Transformer", "TransformerConfig"]
EPS = 1e-6


class Attention(nn.Module):
    """The weights of attention, with one fused projection for queries, keys and values."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)


class Block(nn.Module):
    """The weights of a layer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(config.width, eps=EPS)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=EPS)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def layer(self) -> Layer:
        """What computes it."""
        return Layer(
            heads=self.heads,
            key_heads=self.heads,
            eps=EPS,
            attention_norm=self.attention_norm.weight,
            qkv=self.attention.qkv.weight,
            out=self.attention.out.weight,
            mlp_norm=self.mlp_norm.weight,
            gate_up=self.gate_up.weight,
            down=self.down.weight,
        )

    def forward(self, x: Tensor, rotation: Tensor, attend: Attend) -> Tensor:
        """See `Layer`; as a module, it can be sharded."""
        return self.layer()(x, rotation, attend)


class Head(nn.Linear):
    """From features to logits."""

    def forward(self, features: Tensor) -> Tensor:
        return in_full(super().forward(features))


class Transformer(Policy):
    """The policy: ``hidden`` gives features, ``head`` turns them into logits, (B, L, V).

    Initial weights come from torch's global generator: seed it first.
    """

    rope: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=EPS)
        self.head = Head(config.width, config.vocab_size, bias=False)
        self.register_buffer("rope", rotary_table(config), persistent=False)
        self.reset_parameters()

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def cache_bytes(self) -> int:
        return 2 * self.config.layers * self.config.width * self.embedding.weight.element_size()

    def layers(self) -> list[nn.Module]:
        return list(self.blocks)

    def reset_parameters(self) -> None:
        """Unit-variance activations at the start; branches share one unit of residual variance."""
        nn.init.normal_(self.embedding.weight, std=0.5)
        assert isinstance(self.head, nn.Linear)
        nn.init.normal_(self.head.weight, std=0.02)
        branches = 2 * self.config.layers
        for block in self.blocks:
            assert isinstance(block, Block)
            for linear in (block.attention.qkv, block.gate_up):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            for linear in (block.attention.out, block.down):
                nn.init.normal_(linear.weight, std=(linear.in_features * branches) ** -0.5)

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the last normalised features, (B, L, width).

        Args:
            input_ids: (B, L) int64; with a cache, the tokens that follow those stored.
            attention_mask: (B, L) bool, True on real tokens. None, or padding on the right only:
                plain causal attention (no real token can see the padding after it). Otherwise,
                positions count real tokens and padding is masked; features at padding are
                meaningless but finite.
            cache: past keys and values, extended by this call.

        Raises ConfigError if the sequence is longer than ``model.context``.
        """
        assert cache is None or isinstance(cache, KVCache), "a cache of another model"
        decoder = self._decoder(list(self.blocks)) if cache is None else cache.decoder
        return decoder.hidden(input_ids, attention_mask, cache)

    @property
    def packs(self) -> bool:
        return True

    def hidden_packed(self, packed: Packed) -> Tensor:
        return self._decoder(list(self.blocks)).packed(packed)

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """Return an empty cache for ``rows`` sequences of at most ``capacity`` tokens."""
        # Not the modules, whose calls take longer than a small layer.
        layers = [block.layer() for block in self.blocks if isinstance(block, Block)]
        return KVCache.create(
            self._decoder(layers),
            self.embedding.weight,
            layers=len(layers),
            rows=rows,
            key_heads=self.config.heads,
            width=self.config.head_width,
            capacity=capacity,
        )

    def _decoder(self, layers: Sequence[Callable[..., Tensor]]) -> Decoder:
        return Decoder(
            embedding=self.embedding.weight,
            layers=layers,
            norm=self.norm.weight,
            eps=EPS,
            context=self.context,
            rotations=lambda _: torch.view_as_complex(self.rope),
        )


def rotary_table(config: TransformerConfig) -> Tensor:
    """Return cos and sin of position * base^(-2 i / d), (context, d / 2, 2), d = head width."""
    exponents = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
    positions = torch.arange(config.context, dtype=torch.float64)
    angles = torch.outer(positions, config.rope_base**-exponents)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).to(torch.get_default_dtype())
