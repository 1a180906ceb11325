"""Trained models in run directories: whole, or only the adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chord.errors import ConfigError, first_line
from chord.io.writing import whole_directory
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
    # Only adapters need it.
    from peft import load_peft_weights, set_peft_model_state_dict

    policy = load_policy(config)
    try:
        set_peft_model_state_dict(policy.model, load_peft_weights(str(directory), device="cpu"))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{directory}: its adapters can't be read ({first_line(error)})"
        ) from error
    return policy
