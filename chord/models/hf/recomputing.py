"""Layers that are computed again in the backward pass, which saves memory.

Transformers recomputes a layer only in training mode, and that also turns on what depends on the
mode: dropout with a probability from the configuration, or skipping whole layers. Here a layer
stays in evaluation mode, so it computes the same with a gradient as without one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from chord.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHES = {"past_key_values", "layer_past", "cache_params"}
"""The names that layers have for their cache."""


def recompute_layers(model: PreTrainedModel) -> None:
    """Recompute the layers whenever a gradient is needed.

    Raises ConfigError if the model has no layers that can be recomputed.
    """
    layers = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"model.gradient_checkpointing=true: {type(model).__name__} has no layers that can be "
            "computed again; use model.gradient_checkpointing=false"
        )
    for layer in layers:
        # The forward method, not the call: hooks, such as those of FSDP, must run only once.
        layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **settings)
    # Some models always make a cache, and the second pass would find the first one's tokens in it.
    settings |= dict.fromkeys(CACHES & settings.keys())
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **settings)
