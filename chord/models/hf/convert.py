"""The tiny model as a transformers Llama: the same numbers from independent code.

Its rotary pairs are neighbouring channels, whereas Llama's are the two halves of a head, so the
rows of queries and keys are reordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from chord.data.tokenizer import CharTokenizer
    from chord.models.transformer import Transformer

PAD, EOS = "<pad>", "<eos>"


def to_llama(policy: Transformer) -> LlamaForCausalLM:
    """A Llama with the policy's weights, in its dtype."""
    sizes = policy.config
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.width,
            intermediate_size=sizes.mlp_width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.heads,
            max_position_embeddings=sizes.context,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_base},
            tie_word_embeddings=False,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    )
    # A state_dict would shard a gathered policy again.
    weights = {name: parameter.detach() for name, parameter in policy.named_parameters()}
    renamed = {
        "model.embed_tokens.weight": weights["embedding.weight"],
        "model.norm.weight": weights["norm.weight"],
        "lm_head.weight": weights["head.weight"],
    }
    for layer in range(sizes.layers):
        own, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        query, key, value = weights[f"{own}.attention.qkv.weight"].chunk(3)
        gate, up = weights[f"{own}.gate_up.weight"].chunk(2)
        renamed |= {
            f"{theirs}.self_attn.q_proj.weight": halves(query, sizes.heads),
            f"{theirs}.self_attn.k_proj.weight": halves(key, sizes.heads),
            f"{theirs}.self_attn.v_proj.weight": value,
            f"{theirs}.self_attn.o_proj.weight": weights[f"{own}.attention.out.weight"],
            f"{theirs}.mlp.gate_proj.weight": gate,
            f"{theirs}.mlp.up_proj.weight": up,
            f"{theirs}.mlp.down_proj.weight": weights[f"{own}.down.weight"],
            f"{theirs}.input_layernorm.weight": weights[f"{own}.attention_norm.weight"],
            f"{theirs}.post_attention_layernorm.weight": weights[f"{own}.mlp_norm.weight"],
        }
    torch.nn.Module.to(model, dtype=policy.dtype)
    model.load_state_dict(renamed)
    model.eval()
    return model


def halves(weight: Tensor, heads: int) -> Tensor:
    """Each head's rows (0, 1, 2, 3, ...) in the order (0, 2, ..., 1, 3, ...)."""
    pairs = weight.unflatten(0, (heads, -1, 2))
    return torch.cat([pairs[:, :, 0], pairs[:, :, 1]], dim=1).flatten(0, 1).contiguous()


def to_fast(tokenizer: CharTokenizer) -> PreTrainedTokenizerFast:
    """A transformers tokenizer with the same ids, one for each character."""
    ids = {token: number for number, token in enumerate([PAD, EOS, *tokenizer.alphabet])}
    inner = Tokenizer(models.WordLevel(ids, unk_token=PAD))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, pad_token=PAD)
