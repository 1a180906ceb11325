"""Policies on disk: safetensors, with sizes and metadata in the header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from chord.errors import ConfigError, first_line
from chord.io.reading import parse_json
from chord.io.writing import whole_file
from chord.models.base import Shape
from chord.models.config import TransformerConfig
from chord.models.transformer import Transformer

# Only one header entry: the format does not order entries, and equal weights must give equal
# files.
_ENTRY = "chord"
# In tokens; a model contains a table of this many angles.
_LONGEST = 2**20


def save_policy(
    model: Transformer, path: str | Path, metadata: dict[str, Any] | None = None
) -> None:
    """Write the weights, ``model.config`` and JSON-able ``metadata``, atomically."""
    header = json.dumps(
        {"config": asdict(model.config), "metadata": metadata or {}}, sort_keys=True
    )
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_tensors(Path(path), tensors, {_ENTRY: header})


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file atomically, and make its directory."""
    with whole_file(path) as partial:
        save_file({name: each.cpu() for name, each in tensors.items()}, partial, metadata=header)


def load_policy(path: str | Path) -> Transformer:
    """Return the policy saved at ``path``, in the dtype it was saved in.

    Raises ConfigError naming the path if it is missing, damaged or not a policy.
    """
    config = _read_header(path)["config"]
    try:
        tensors = load_file(path)
        sizes = TransformerConfig(**config)
        _refuse_larger(sizes, tensors)
        model = Transformer(sizes)
        model.to(dtype=tensors["embedding.weight"].dtype)
        model.load_state_dict(tensors)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"checkpoint {path}: weights do not fit: {first_line(error)}") from None
    return model


def _refuse_larger(sizes: TransformerConfig, tensors: dict[str, Tensor]) -> None:
    """Raise ConfigError, before building it, if a model would be larger than its weights."""
    if sizes.layers > len(tensors):
        raise ConfigError(f"the header has {sizes.layers} layers, the file {len(tensors)} tensors")
    if sizes.context > _LONGEST:
        raise ConfigError(f"the header has a context of {sizes.context}, more than {_LONGEST}")
    with torch.device("meta"):
        wanted = Transformer(sizes).state_dict()
    for name, tensor in wanted.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise ConfigError(f"by the header {name} has the shape {list(tensor.shape)}")


def read_shape(path: str | Path) -> Shape:
    """Return the sizes of the policy at ``path`` without its weights; ConfigError as there."""
    config = _read_header(path)["config"]
    try:
        sizes = TransformerConfig(**config)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"checkpoint {path}: weights do not fit: {first_line(error)}") from None
    return Shape(vocab_size=sizes.vocab_size, context=sizes.context)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata given to `save_policy`, without reading weights; ConfigError as there."""
    metadata: dict[str, Any] = _read_header(path)["metadata"]
    return metadata


def _read_header(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise ConfigError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_json(file.metadata()[_ENTRY].encode())
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"checkpoint {path}: cannot be read as safetensors: {first_line(error)}"
        ) from None
    except (TypeError, KeyError, ValueError):
        header = None
    if not isinstance(header, dict) or not {"config", "metadata"} <= header.keys():
        raise ConfigError(f"checkpoint {path}: was not written by chord.models.storage.save_policy")
    return header
