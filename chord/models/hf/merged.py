"""Weights under transformers' names, with adapters merged, as engines need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Name and value of each weight, W + alpha / rank * B A if there is an adapter.

    The model is not changed. A weight that is used twice is yielded once, under its first name, as
    in a saved model.
    """
    adapters: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight") and hasattr(module, "base_layer")
    }
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition(".")
        owner, _, part = owner.rpartition(".")
        value = parameter.detach()
        if part == "base_layer":
            if kind == "weight":
                layer = adapters[owner]
                for adapter in layer.active_adapters:
                    value = value + layer.get_delta_weight(adapter)
                value = value.to(parameter.dtype)
            name = f"{owner}.{kind}"
        if "lora_" not in name:
            yield name, value
