"""The policy's weights in a run's checkpoint: found in it, and put into a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from chord.errors import ConfigError, first_line
from chord.io.reading import opened

PREFIX = "policy."
"""What the names of the policy's weights begin with in a checkpoint."""


def tensors_in(file: Path, *, mapped: bool = False) -> dict[str, Any]:
    """What `torch.save` wrote; raises, as it happens, where that is not tensors and plain values.

    `mapped`: read no tensor before it is used. What torch says of other objects advises to run the
    code in them.
    """
    try:
        with opened(file) as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the kind of pickle
            # It maps files by name alone.
            source = file if mapped else content
            state: dict[str, Any] = torch.load(source, weights_only=True, mmap=mapped)
    except UnpicklingError:
        raise ConfigError(
            "it holds more than tensors and plain values, which is not read"
        ) from None
    except LookupError:  # of bytes that are no pickle
        raise ConfigError("torch.save has not written it") from None
    return state


def weights_of(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The policy's weights in a checkpoint, by their names in the policy."""
    return {name.removeprefix(PREFIX): w for name, w in state["state_dict"].items()}


def load_weights(
    policy: torch.nn.Module, weights: Mapping[str, torch.Tensor], origin: str, file: Path
) -> None:
    """Load a checkpoint's weights; `ConfigError` naming the `origin` where they aren't its own."""
    try:
        lacks, foreign = policy.load_state_dict(weights, strict=False)
        fits = not foreign and set(lacks) <= frozen_names(policy)
    except RuntimeError:
        fits = False
    if not fits:
        raise ConfigError(f"{origin}: {file} holds the weights of another model")


def frozen_names(module: torch.nn.Module) -> set[str]:
    """The parameters that are not trained: checkpoints leave them out."""
    return {name for name, parameter in module.named_parameters() if not parameter.requires_grad}


def begin_with(policy: torch.nn.Module, file: Path, origin: str) -> None:
    """Load the weights in a checkpoint's file, of which tensors and plain values alone are read.

    Raises ConfigError, naming the `origin`, where it is damaged or of another model.
    """
    try:
        weights = weights_of(tensors_in(file))
    except Exception as error:  # whatever a damaged file raises
        raise ConfigError(f"{origin}: {file} can't be read ({first_line(error)})") from error
    load_weights(policy, weights, origin, file)
