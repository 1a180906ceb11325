"""The settings with which a pre-trained language model is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chord.errors import ConfigError, check_choice
from chord.models.base import ModelConfig
from chord.models.hf.source import find, place_of

DTYPES = ("float32", "bfloat16", "float16")


ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685): W + alpha / rank * B A, where A and B are trained.

    `targets`: endings of the names of the linear layers that get one; empty for all of them except
    the head. There is no dropout: rollouts and ratios must see the same policy.
    """

    rank: int = 0
    """Rank of the adapters; 0 trains all weights."""
    alpha: float = 32.0
    targets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ConfigError(f"model.lora.rank={self.rank}: must be at least 0")
        if self.alpha <= 0:
            raise ConfigError(f"model.lora.alpha={self.alpha}: must be greater than 0")


def check_settings(group: str, path: str, dtype: str, attention: str) -> None:
    """Raise ConfigError for settings with which no model can be loaded."""
    find(f"{group}.path", path)
    check_choice(f"{group}.dtype", dtype, DTYPES)
    check_choice(f"{group}.attention", attention, ATTENTION)


@dataclass(kw_only=True)
class HFSettings(ModelConfig):
    """The settings of a causal language model of transformers.

    `path`: a directory, a .gguf file, a hub id such as Qwen/Qwen2.5-1.5B-Instruct, or
    pkg://PACKAGE/FILE for a file inside an installed Python package.
    """

    path: str
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    dtype: str = "float32"
    """The data type of the weights; float32 if they are trained, and always for adapters."""
    attention: str = "auto"
    gradient_checkpointing: bool = False
    """Compute each layer again in the backward pass: less memory, a third more time."""
    compile: bool = False
    """torch.compile the layers for training and scoring; sampling stays uncompiled."""
    chat: bool = True
    """Write prompts with the tokenizer's chat template; false: as plain text."""
    chat_template: str | None = None
    """A file with a chat template to be used instead of the tokenizer's own one."""
    chat_kwargs: dict[str, Any] = field(default_factory=dict)
    """Variables that the chat template reads, such as enable_thinking."""
    system: str | None = None
    """A system turn that is put before every conversation that has none."""
    context: int | None = None
    """The longest sequence; by default the model's own limit."""
    lora: Lora = field(default_factory=Lora)
    run: str | None = None
    """A run whose model takes the place of another one; `path` and `start` are looked up there."""
    start: str | None = None
    """What is loaded into the model of `path`: a run's checkpoint, or a directory of adapters."""

    def __post_init__(self) -> None:
        check_settings("model", self.path, self.dtype, self.attention)
        if self.context is not None and self.context < 2:
            raise ConfigError(f"model.context={self.context}: must be at least 2")
        if not self.chat:
            for name in ("system", "chat_template", "chat_kwargs"):
                if getattr(self, name):
                    raise ConfigError(
                        f"model.{name}: needs model.chat=true; plain prompts have no turns"
                    )
        if self.chat_template is not None and not Path(self.chat_template).expanduser().is_file():
            raise ConfigError(f"model.chat_template={self.chat_template}: no such file")

    def files(self) -> dict[str, str]:
        template = {} if self.chat_template is None else {"model.chat_template": self.chat_template}
        start = {} if self.start is None else {"model.start": self.start}
        return {"model.path": place_of(self.path, self.revision)} | start | template

    def check_trained(self) -> None:
        if self.dtype != "float32" and not self.lora.rank:
            raise ConfigError(
                f"model.dtype={self.dtype}: weights of half precision lose optimizer steps to "
                "rounding; train adapters beside them (model.lora.rank=16), or use "
                "model.dtype=float32, with trainer.precision=bf16-mixed to compute in bfloat16"
            )
