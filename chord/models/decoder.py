"""A Llama-like decoder: embedding, layers, last norm. Whose weights they are does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from chord.errors import ConfigError
from chord.models.cache import KVCache
from chord.models.layers import Attend, rms_norm
from chord.models.packing import Packed


@dataclass
class Decoder:
    """Weights, from tokens to the last normalised features."""

    embedding: Tensor
    layers: Sequence[Callable[[Tensor, Tensor, Attend], Tensor]]
    """Each is a `Layer`, or a module that computes one."""
    norm: Tensor
    eps: float
    context: int
    rotations: Callable[[int], Tensor]
    """The rotations of at least so many positions, (n, d / 2), complex."""
    padding_idx: int | None = None
    """The token whose embedding gets no gradient, as in `torch.nn.Embedding`."""

    def packed(self, packed: Packed) -> Tensor:
        """The features of all tokens, (N, width)."""
        longest = max(rows.shape[1] for rows in packed.rows)
        self._check(longest)
        rotation = self.rotations(longest)[packed.positions]
        return self._normed(self._run(packed.tokens, rotation, lambda _: packed.attend))

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        """The features (B, L, width), as `Policy.hidden` describes them."""
        rows, new = input_ids.shape
        past = 0 if cache is None else cache.length
        end = past + new
        if cache is None:
            valid = None if is_right_padded(attention_mask) else attention_mask
        elif end > cache.capacity:
            raise ValueError(f"a sequence of {end} tokens does not fit a cache of {cache.capacity}")
        else:
            valid = cache.mark(attention_mask, new)
        rotation, bias = self._places(valid, past, new, rows, real=attention_mask is None)

        def attends(layer: int) -> Attend:
            return partial(attend_rows, cache=cache, layer=layer, rows=rows, bias=bias)

        out = self._run(input_ids.flatten(), rotation, attends)
        if cache is not None:
            cache.advance(new)
        # Last, because a sharded module must not return a view.
        return self._normed(out.unflatten(0, (rows, new)))

    def _places(
        self, valid: Tensor | None, past: int, new: int, rows: int, *, real: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The new tokens' rotations, and the bias of their attention (None: causal, or all).

        `valid` (rows, past + new) marks the slots that are no padding, `real` that no new one is.
        """
        device = self.embedding.device
        if valid is None:
            self._check(past + new)
            bias = attention_bias(None, past, new, device) if past > 0 and new > 1 else None
            rotation = self.rotations(past + new)[past : past + new]
            return (rotation if new == 1 else rotation.repeat(rows, 1)), bias
        if new == 1 and real:
            # As for each token that is sampled: it is the last one, and sees all but padding.
            counts = valid.sum(dim=1)
            bias = torch.zeros(valid.shape, device=device)
            bias = bias.masked_fill_(~valid, float("-inf"))[:, None, None]
        else:
            counts = valid.long().cumsum(dim=1)[:, past:]
            bias = attention_bias(valid, past, new, device)
        # Padding takes slots, but no positions.
        longest = int(counts.max())
        self._check(longest)
        return self.rotations(longest)[(counts - 1).clamp_min(0).flatten()], bias

    def _run(self, tokens: Tensor, rotation: Tensor, attends: Callable[[int], Attend]) -> Tensor:
        x = F.embedding(tokens, self.embedding, self.padding_idx)
        for number, layer in enumerate(self.layers):
            x = layer(x, rotation, attends(number))
        return x

    def _normed(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.norm, self.eps)

    def _check(self, longest: int) -> None:
        if longest > self.context:
            raise ConfigError(
                f"model.context={self.context}: a sequence of {longest} tokens does not fit"
            )


def attend_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    cache: KVCache | None,
    layer: int,
    rows: int,
    bias: Tensor | None,
) -> Tensor:
    """Attention of rows of equally many tokens: (B * L, heads, d) to (B * L, heads * d).

    Causal, or with a bias on the scores, (L, slots) or (B, 1, L, slots). With a cache, the tokens
    follow those that it holds.
    """
    query, key, value = (
        part.unflatten(0, (rows, -1)).transpose(1, 2) for part in (query, key, value)
    )
    first = cache is None or cache.length == 0
    if cache is not None:
        key, value = cache.append(layer, key, value)
    if bias is not None:
        bias = bias.to(query.dtype)
    if query.shape[2] == 1 and not torch.is_grad_enabled():
        return attend_last(query[:, :, 0], key, value, bias)
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=first and bias is None,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)


def attend_last(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of one token a row to all others: query (B, heads, d), key (B, key heads, n, d).

    Two products of matrices are twice as fast as the fused kernel, which is made for many queries.
    """
    key_heads, width = key.shape[1], query.shape[2]
    groups: Tensor = (query * width**-0.5).unflatten(1, (key_heads, -1))
    scores = groups @ key.mT
    if bias is not None:
        scores += bias
    wide = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    shares = scores.softmax(dim=-1, dtype=wide).to(value.dtype)
    return (shares @ value).flatten(1)


def attention_bias(valid: Tensor | None, past: int, new: int, device: torch.device) -> Tensor:
    """0 where a new token can attend and -inf elsewhere, ([B, 1,] new, past + new)."""
    own = torch.arange(past, past + new, device=device)[:, None]
    slots = torch.arange(past + new, device=device)[None, :]
    allowed = slots <= own
    if valid is not None:
        # A padding token sees itself; otherwise its softmax would be 0 / 0.
        allowed = (allowed & valid[:, None, None, :]) | (slots == own)
    bias = torch.zeros(allowed.shape, device=device)
    return bias.masked_fill_(~allowed, float("-inf"))


def is_right_padded(attention_mask: Tensor | None) -> bool:
    """Whether no real token follows padding in any row (None: there is no padding)."""
    if attention_mask is None or attention_mask.shape[1] < 2:
        return True
    return not bool((attention_mask[:, 1:] & ~attention_mask[:, :-1]).any())
