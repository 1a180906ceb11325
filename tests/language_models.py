"""Language models made on the spot: a few thousand random weights, a tokenizer of characters."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from conftest import SMALL, compose_config
from omegaconf import DictConfig
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from chord.models.hf.policy import HFPolicy

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128},
}
FAMILIES = tuple(SIZES)
STATES: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "lfm2": {"num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]},
    "falcon_h1": {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mamba2": {"num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
}
"""Families with recurrent or convolutional layers, whose past is a state."""
ODD: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 64,
    },
    "bloom": {"n_layer": 2, "n_head": 2},
    "falcon": {"alibi": True, "new_decoder_architecture": False},
}
"""Families whose attention has a window that no common setting names, or counts columns."""


def make_tokenizer(chat: bool = True, **settings: Any) -> PreTrainedTokenizerFast:
    """One token for each printable character, and ChatML's three; its pad is its end token."""
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *CHARACTERS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[0]))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    names: dict[str, Any] = {"eos_token": SPECIAL[2], "pad_token": SPECIAL[2]} | settings
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    if chat:
        tokenizer.chat_template = CHATML
    return tokenizer


def make_model(
    directory: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    chat: bool = True,
    dtype: torch.dtype = torch.float32,
    **sizes: Any,
) -> Path:
    """Save a model with random weights and its tokenizer; returns the directory."""
    tokenizer = make_tokenizer(chat)
    size: dict[str, Any] = {"vocab_size": len(tokenizer), "eos_token_id": 2, "pad_token_id": 2}
    if family != "gpt2":
        size |= {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        }
    torch.manual_seed(seed)
    own = (SIZES | STATES | ODD).get(family, {})
    config = AutoConfig.for_model(family, **(size | {"bos_token_id": 0} | own | sizes))
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for parameter in model.parameters():
        # Larger than a new model's: its distributions are not all alike.
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def in_double(policy: HFPolicy) -> HFPolicy:
    """Norms and rotations too, which Llama's own code rounds to float32 in any case."""

    def normed(self: Any, x: Tensor) -> Tensor:
        scale = (x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()
        normal: Tensor = self.weight * x * scale
        return normal

    def rotations(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = (position_ids[..., None].float() * self.inv_freq.float()).double().repeat(1, 1, 2)
        return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling

    if policy.fused is not None:
        for part in policy.causal.modules():
            if type(part).__name__.endswith("RMSNorm"):
                part.forward = MethodType(normed, part)
            elif type(part).__name__.endswith("RotaryEmbedding"):
                part.forward = MethodType(rotations, part)
    return policy.double()


def composed(directory: Path, *overrides: str) -> DictConfig:
    """A short run of the language model on the test bed, in its own characters."""
    teacher = ("teacher=hf", f"teacher.path={directory}-teacher")
    return compose_config(
        *SMALL,
        "evaluation.max_new_tokens=4",
        "model=hf",
        f"model.path={directory}",
        *(() if "teacher=none" in overrides else teacher),
        *overrides,
    )


ADAPTED = ("model.lora.rank=2", "model.lora.targets=[q_proj]")
