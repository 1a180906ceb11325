"""A model's files as transformers reads them, whole or not at all."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from chord.errors import ConfigError, first_line
from chord.models.hf.library import transformers
from chord.models.hf.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Never run a model's own Python files; without this setting, transformers would ask."""


def read_settings(source: Source) -> Any:
    """A model's config.json; ConfigError if it brings code with it."""
    settings = transformers.AutoConfig.from_pretrained(source.place, **NO_CODE, **source.arguments)
    asked = str(settings._attn_implementation)
    if "/" in asked:
        raise ConfigError(f"its config.json asks for attention from {asked}, which is a hub's code")
    return settings


def refuse_larger(place: Path, settings: Any) -> None:
    """Before building, raise ConfigError if config.json asks for far more than the files hold.

    For weights that are not safetensors, nothing is known beforehand.
    """
    count = elements = 0
    for file in sorted(place.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                count += 1
                elements += math.prod(weights.get_slice(name).get_shape())
    text = settings.get_text_config()
    layers = getattr(text, "num_hidden_layers", None) or 0
    embedding = (getattr(text, "hidden_size", None) or 0) * (getattr(text, "vocab_size", 0) or 0)
    if count and layers > count:
        raise ConfigError(f"config.json has {layers} layers, but its files have {count} tensors")
    # Packed weights hold up to 32 bits in an element.
    if count and embedding > 32 * elements:
        raise ConfigError(
            f"config.json has an embedding of {embedding} numbers, but its files hold {elements}"
        )


def complete(source: Source, **arguments: Any) -> PreTrainedModel:
    """The model with all its weights; ConfigError if its files lack one or have another shape.

    Transformers would initialise those at random. Other weights in the files are ignored.
    """
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source.place, output_loading_info=True, ignore_mismatched_sizes=True, **NO_CODE, **arguments
    )
    model: PreTrainedModel = loaded[0]
    found: dict[str, Any] = loaded[1]
    if found["mismatched_keys"]:
        name, there, wanted = min(found["mismatched_keys"])
        raise ConfigError(
            f"{name} has the shape {list(there)} in its files, but is {list(wanted)} in "
            f"{type(model).__name__} as config.json has it"
        )
    if found["missing_keys"]:
        first, *others = sorted(found["missing_keys"])
        more = f" and {len(others)} more" if others else ""
        raise ConfigError(f"its files lack {first}{more}, which {type(model).__name__} has")
    return model


@contextlib.contextmanager
def one_line(source: Source) -> Iterator[None]:
    """An error of transformers or the hub, in one sentence."""
    try:
        yield
    except Exception as error:  # the libraries raise many kinds
        text = first_line(error).rstrip()
        if isinstance(error, UnpicklingError):
            # torch advises to run the code in them.
            text = "its files hold more than tensors, which is not read; safetensors do not"
        if text.endswith(":"):  # a list follows
            text = " ".join(str(error).split())
        raise ConfigError(f"{source.setting}: can't be loaded ({text})") from error
