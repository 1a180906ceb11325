"""Models are loaded: the policy, with adapters or without, a teacher, or only the sizes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chord.errors import ConfigError
from chord.models.base import ENDLESS, Shape
from chord.models.hf.adapters import adapt
from chord.models.hf.fused import Fused
from chord.models.hf.gguf import kept
from chord.models.hf.policy import HFPolicy
from chord.models.hf.quiet import quiet
from chord.models.hf.recomputing import recompute_layers
from chord.models.hf.resolving import resolve
from chord.models.hf.source import Source, find
from chord.models.hf.trial import try_out
from chord.models.hf.weights import complete, one_line, read_settings, refuse_larger

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.models.hf.settings import HFSettings


def load_shape(
    setting: str, path: str, revision: str | None = None, *, context: int | None = None
) -> Shape | None:
    """A model's sizes from its configuration; None for a GGUF file that has not been unpacked.

    Raises ConfigError if it can't be read, or if its context is shorter than the `context` given.
    """
    file = Path(find(setting, path).place)
    if file.suffix == ".gguf" and file.is_file() and not kept(file).is_dir():
        return None
    source = resolve(setting, path, revision)
    with quiet(), one_line(source):
        settings = read_settings(source)
    size = settings.get_text_config().vocab_size
    return Shape(vocab_size=size, context=_room(settings, context))


def load_policy(config: HFSettings) -> HFPolicy:
    """The policy, with new adapters if configured."""
    if config.compile:
        _check_compiler()
    source = resolve("model.path", config.path, config.revision)
    model = _load(source, config.dtype, config.attention)
    context = _room(model.config, config.context)
    recomputed = config.gradient_checkpointing
    if recomputed:
        recompute_layers(model)
    can = try_out(model, source.setting, samples=True, recomputed=recomputed)
    trained = adapt(model, config.lora) if config.lora.rank else model
    adapted = trained is not model
    policy = HFPolicy(
        trained,
        context=context,
        adapted=adapted,
        shares=can.shares,
        fused=Fused(model, context=context) if can.fused else None,
        # An adapter's gradient does not need that of the whole weight.
        packs=not (adapted or recomputed or config.compile),
    )
    if config.compile:
        policy.compile_layers()
    return policy


def _check_compiler() -> None:
    """Refuse to compile if it would fail in the first step; a GPU needs no C++ compiler."""
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in compilers):
        raise ConfigError(
            "model.compile=true: torch.compile needs a C++ compiler on the CPU, and there is no "
            f"{' or '.join(compilers)} here; name one in the environment variable CXX, or use "
            "model.compile=false"
        )


def load_teacher(path: str, *, revision: str | None, dtype: str, attention: str) -> HFPolicy:
    """The teacher, frozen."""
    source = resolve("teacher.path", path, revision)
    model = _load(source, dtype, attention)
    can, context = try_out(model, source.setting, samples=False), _room(model.config)
    fused = Fused(model, context=context) if can.fused else None
    policy = HFPolicy(model, context=context, shares=can.shares, fused=fused, packs=True)
    return policy.requires_grad_(False)


def _load(source: Source, dtype: str, attention: str) -> PreTrainedModel:
    with quiet(), one_line(source):
        refuse_larger(Path(source.place), read_settings(source))
        model = complete(
            source,
            dtype=getattr(torch, dtype),
            attn_implementation=None if attention == "auto" else attention,
            **source.arguments,
        )
    model.eval()
    return model


def _room(settings: Any, wanted: int | None = None) -> int:
    """The configured context, by default all that the model supports; ConfigError for more."""
    known = int(getattr(settings.get_text_config(), "max_position_embeddings", None) or ENDLESS)
    if wanted is not None and wanted > known:
        raise ConfigError(f"model.context={wanted}: must be at most {known}, what the model knows")
    return wanted or known
