"""A Llama, Qwen or Mistral of transformers, computed by chord's own decoder.

The weights stay where they are, under their names, for the optimizer, checkpoints, and exports. At
the start of a pass, those that are multiplied with the same input are put together, which takes
much less time than the pass, and gradients flow through it. Another family, or a setting that the
decoder does not know, is computed by transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chord.models.decoder import Decoder
from chord.models.layers import Layer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FAMILIES = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
ROTATIONS = {"default", "linear", "llama3"}
"""Kinds of positions whose rotations do not depend on the length of the sequence."""


class Fused:
    """`Fused(model)()` is the model as a `Decoder`, with the weights that it has now."""

    def __init__(self, model: PreTrainedModel, *, context: int) -> None:
        self.model = model
        self.context = context
        self._table: Tensor | None = None

    @staticmethod
    def knows(model: PreTrainedModel) -> bool:
        """Whether the settings are among those that the decoder can compute."""
        settings: Any = model.config
        rope = getattr(settings, "rope_parameters", None) or {}
        kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
        return (
            type(model).__name__ in FAMILIES
            and settings._attn_implementation == "sdpa"
            and settings.hidden_act == "silu"
            and not getattr(settings, "mlp_bias", False)
            and getattr(settings, "sliding_window", None) is None
            and kinds == {"full_attention"}
            and rope.get("rope_type") in ROTATIONS
        )

    def __call__(self) -> Decoder:
        """The decoder, whose weights have gradients if they are enabled."""
        inner: Any = self.model.get_decoder()
        return Decoder(
            embedding=inner.embed_tokens.weight,
            layers=[self._layer(layer) for layer in inner.layers],
            norm=inner.norm.weight,
            eps=inner.norm.variance_epsilon,
            context=self.context,
            rotations=self.rotations,
            padding_idx=inner.embed_tokens.padding_idx,
        )

    def rotations(self, longest: int) -> Tensor:
        """Of at least `longest` positions, (n, d / 2), complex; they are kept, and grow."""
        rope: Any = self.model.get_decoder().rotary_emb
        device = rope.inv_freq.device
        if self._table is None or len(self._table) < longest or self._table.device != device:
            count = min(self.context, 1 << (longest - 1).bit_length())
            # Products in float32, as transformers has them: far positions depend on it.
            angles = torch.outer(torch.arange(count, device=device).float(), rope.inv_freq.float())
            if next(self.model.parameters()).dtype == torch.float64:
                angles = angles.double()
            lengths = torch.full_like(angles, rope.attention_scaling)
            self._table = torch.polar(lengths, angles)
        return self._table

    def _layer(self, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        width = attention.head_dim
        names = ("q_proj", "k_proj", "v_proj")
        query, key, value = (effective(getattr(attention, name)) for name in names)
        query_bias, key_bias, value_bias = (getattr(attention, name).bias for name in names)
        normed = hasattr(attention, "q_norm")
        return Layer(
            heads=len(query) // width,
            key_heads=len(key) // width,
            eps=layer.input_layernorm.variance_epsilon,
            attention_norm=layer.input_layernorm.weight,
            qkv=_put_together(query, key, value, width),
            qkv_bias=None
            if query_bias is None
            else _put_together(query_bias, key_bias, value_bias, width),
            query_norm=_in_pairs(attention.q_norm.weight, width) if normed else None,
            key_norm=_in_pairs(attention.k_norm.weight, width) if normed else None,
            out=effective(attention.o_proj),
            out_bias=attention.o_proj.bias,
            mlp_norm=layer.post_attention_layernorm.weight,
            gate_up=torch.cat((effective(mlp.gate_proj), effective(mlp.up_proj))),
            down=effective(mlp.down_proj),
        )


def effective(linear: Any) -> Tensor:
    """The weight (out, in) of a linear layer, W + alpha / rank * B A if its adapter is on."""
    if not hasattr(linear, "base_layer"):
        weight: Tensor = linear.weight
        return weight
    merged: Tensor = linear.base_layer.weight
    for adapter in () if linear.disable_adapters else linear.active_adapters:
        merged = merged + linear.get_delta_weight(adapter)
    return merged.to(linear.base_layer.weight.dtype)


def _put_together(query: Tensor, key: Tensor, value: Tensor, width: int) -> Tensor:
    return torch.cat((_in_pairs(query, width), _in_pairs(key, width), value))


def _in_pairs(weight: Tensor, width: int) -> Tensor:
    """Each head's rows (0, 1, ..., d - 1) in the order (0, d / 2, 1, d / 2 + 1, ...).

    Llama's rotary pairs are the two halves of a head, the decoder's are neighbours.
    """
    halves: Tensor = weight.unflatten(0, (-1, 2, width // 2))
    return halves.transpose(1, 2).flatten(0, 2)
