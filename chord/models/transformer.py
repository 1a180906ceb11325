"""A small decoder-only transformer over characters.

Pre-norm RMSNorm (1910.07467), rotary positions (2104.09864), a gated SiLU MLP (2002.05202), no
biases, no dropout, separate embedding and head. Rotary pairs are neighbouring channels, so a
rotation is one complex product, which on a CPU is several times faster than the split-halves form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chord.errors import ConfigError
from chord.models.cache import KVCache
from chord.models.config import TransformerConfig
from chord.models.policy import Cache, Policy, in_full

__all__ = ["KVCache", "Transformer", "TransformerConfig"]


class Attention(nn.Module):
    """Causal self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, bias: Tensor | None, cache: KVCache | None, layer: int
    ) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key = rotate(qkv[:, :, :2], rotation).transpose(1, 3).unbind(2)
        value = qkv[:, :, 2].transpose(1, 2)
        causal = bias is None and (cache is None or cache.length == 0)
        if cache is not None:
            key, value = cache.append(layer, key, value)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, is_causal=causal and x.shape[1] > 1
        )
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then a gated MLP, each added to the normalised residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, bias: Tensor | None, cache: KVCache | None, layer: int
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation, bias, cache, layer)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down(F.silu(gate) * up)
        return out


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
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
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
        rotation, bias = self._positions(input_ids, attention_mask, cache)
        x: Tensor = self.embedding(input_ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, bias, cache, layer)
        if cache is not None:
            cache.advance(input_ids.shape[1])
        out: Tensor = self.norm(x)
        return out

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """Return an empty cache for ``rows`` sequences of at most ``capacity`` tokens."""
        dtype = self.embedding.weight.dtype
        return KVCache.create(
            self.config, rows=rows, capacity=capacity, dtype=dtype, device=self.device
        )

    def _positions(
        self, input_ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return each token's rotation and the additive attention bias (None: causal or all)."""
        new = input_ids.shape[1]
        past = 0 if cache is None else cache.length
        end = past + new
        if cache is None:
            valid = None if is_right_padded(attention_mask) else attention_mask
        elif end > cache.capacity:
            raise ValueError(f"a sequence of {end} tokens does not fit a cache of {cache.capacity}")
        else:
            valid = cache.mark(attention_mask, new)
        # Padding takes slots, but no positions.
        longest = end if valid is None else int(valid.sum(dim=1).max())
        if longest > self.config.context:
            raise ConfigError(
                f"model.context={self.config.context}: a sequence of {longest} tokens does not fit"
            )
        rope = torch.view_as_complex(self.rope)
        if valid is None:
            causal_offset = past > 0 and new > 1
            bias = self._bias(None, past, new) if causal_offset else None
            return rope[past:end, None, None], bias
        positions = (valid.long().cumsum(dim=1) - 1).clamp_min(0)[:, past:]
        return rope[positions][:, :, None, None], self._bias(valid, past, new)

    def _bias(self, valid: Tensor | None, past: int, new: int) -> Tensor:
        """Return 0 where a new token can attend and -inf elsewhere, ([B, 1,] new, past + new)."""
        device = self.rope.device
        own = torch.arange(past, past + new, device=device)[:, None]
        slots = torch.arange(past + new, device=device)[None, :]
        allowed = slots <= own
        if valid is not None:
            # A padding token sees itself; otherwise its softmax would be 0 / 0.
            allowed = (allowed & valid[:, None, None, :]) | (slots == own)
        bias = torch.zeros(allowed.shape, dtype=self.rope.dtype, device=device)
        return bias.masked_fill_(~allowed, float("-inf"))


def rotary_table(config: TransformerConfig) -> Tensor:
    """Return cos and sin of position * base^(-2 i / d), (context, d / 2, 2), d = head width."""
    exponents = torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width
    positions = torch.arange(config.context, dtype=torch.float64)
    angles = torch.outer(positions, config.rope_base**-exponents)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).to(torch.get_default_dtype())


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate each pair of neighbouring channels of x by its position's angle; shape is kept.

    In the precision of the angles, because half precision has no complex numbers.
    """
    pairs = torch.view_as_complex(x.to(rotation.real.dtype).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


def is_right_padded(attention_mask: Tensor | None) -> bool:
    """Whether no real token follows padding in any row (None: there is no padding)."""
    if attention_mask is None or attention_mask.shape[1] < 2:
        return True
    return not bool((attention_mask[:, 1:] & ~attention_mask[:, :-1]).any())
