"""Trained models in run directories: whole, or only the adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from chord.errors import ConfigError, first_line
from chord.io.writing import whole_directory
from chord.models.checkpoints import begin_with
from chord.models.hf.loading import load_policy
from chord.models.hf.policy import HFPolicy
from chord.models.hf.quiet import quiet

if TYPE_CHECKING:
    from chord.models.hf.settings import HFSettings
    from chord.models.hf.tokenizer import LanguageTokenizer
    from chord.models.policy import Policy


def save(policy: Policy, tokenizer: LanguageTokenizer, directory: Path) -> None:
    """Write the weights, or the adapters, and the tokenizer, atomically."""
    assert isinstance(policy, HFPolicy)
    with whole_directory(directory) as partial:
        write(policy.model, tokenizer.inner, partial)


def export(
    policy: Policy, tokenizer: LanguageTokenizer, directory: Path, dtype: str | None = None
) -> None:
    """Write a model that needs neither this package nor its adapters."""
    assert isinstance(policy, HFPolicy)
    model: Any = policy.model
    whole = model.merge_and_unload() if policy.adapted else model
    write(whole, tokenizer.inner, directory, dtype)


def write(model: Any, tokenizer: Any, directory: Path, dtype: str | None = None) -> None:
    """Write what transformers' `from_pretrained` reads, without progress bars.

    `dtype`: what the weights are rounded to, once adapters are merged.
    """
    with quiet():
        if dtype is not None:
            model.to(getattr(torch, dtype))
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def load(config: HFSettings, directory: Path) -> HFPolicy:
    """The model that `save` wrote; adapters are put into the model that they were trained on.

    Raises ConfigError if the directory can't be read.
    """
    if not config.lora.rank:
        return load_policy(replace(config, path=str(directory), revision=None))
    policy = load_policy(config)
    load_adapters(policy, directory, str(directory))
    return policy


def load_adapters(policy: HFPolicy, directory: Path, origin: str) -> None:
    """Give a policy's adapters the values in a directory, all of them.

    Raises ConfigError, which begins with `origin`, where it can't be read or holds others.
    """
    # Only adapters need it.
    from peft import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    try:
        found = load_peft_weights(str(directory), device="cpu")
        model: Any = policy.model
        own = get_peft_model_state_dict(model, save_embedding_layers=False)
        others = {name for name in found if "lora_" in name} ^ set(own)
        others |= {name for name in own if name in found and found[name].shape != own[name].shape}
        if others:
            raise ConfigError(f"{min(others)} is not alike there and in the model")
        set_peft_model_state_dict(model, found)
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{origin}: its adapters can't be read ({first_line(error)})") from error


def begin(policy: HFPolicy, start: Path, origin: str) -> None:
    """Load what a run has trained into its base: adapters, or the weights of a checkpoint.

    Raises ConfigError, which begins with `origin`, where that can't be read or does not fit.
    """
    if start.is_dir():
        load_adapters(policy, start, origin)
    else:
        begin_with(policy, start, origin)
