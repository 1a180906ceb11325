"""From a path to a model: directories, hub ids, GGUF files, files inside installed packages."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import nn

from chord.errors import ConfigError, first_line
from chord.io.hashes import cache_directory, file_hash
from chord.io.printing import say
from chord.models.base import Shape
from chord.models.hf.adapters import adapt
from chord.models.hf.library import transformers
from chord.models.hf.policy import HFPolicy
from chord.models.hf.quiet import quiet
from chord.models.hf.source import Source, find
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.models.hf.trial import try_out

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.models.hf.settings import HFSettings

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Never run a model's own Python files; without this setting, transformers would ask."""


def resolve(setting: str, path: str, revision: str | None = None) -> Source:
    """The place that transformers loads from: for a GGUF file, the directory it was unpacked into.

    If the hub does not answer, the directory in the local cache, or else ConfigError.
    """
    source = find(setting, path, revision)
    if source.on_hub and not answers(source.place, revision):
        return replace(source, place=cached(source), arguments={"local_files_only": True})
    file = Path(source.place)
    if file.suffix == ".gguf" and file.is_file():
        return replace(source, place=str(unpacked(file)))
    return source


def cached(source: Source) -> str:
    """The directory of the local cache with a model's files."""
    from huggingface_hub import snapshot_download

    try:
        place = snapshot_download(source.place, local_files_only=True, **source.arguments)
    except Exception as error:  # the library raises many kinds
        raise ConfigError(
            f"{source.setting}: no such directory; as a hub id it is not in the local cache, and "
            "the hub was not reached"
        ) from error
    return str(place)


@cache
def answers(place: str, revision: str | None) -> bool:
    """Whether the hub answers at all to a request for the model's id; asked once.

    It has $HF_HUB_ETAG_TIMEOUT seconds, 10 by default. The library would retry for a minute.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        url = hf_hub_url(place, "config.json", revision=revision)
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError:
        return True
    except Exception:  # the library's, and those of whatever it connects with
        return False
    return True


def load_tokenizer(config: HFSettings) -> LanguageTokenizer:
    """The tokenizer of `model.path`; a one-line ConfigError if there is none that fits."""
    inner, size, stops = _tokenizer(resolve("model.path", config.path, config.revision))
    return LanguageTokenizer(
        inner=inner,
        name=config.path,
        vocab_size=size,
        chat=config.chat,
        system=config.system,
        stops=stops,
    )


def load_shape(
    setting: str, path: str, revision: str | None = None, *, context: int | None = None
) -> Shape | None:
    """A model's sizes from its configuration; None for a GGUF file, which is slow to read.

    Raises ConfigError if it can't be read, or if its context is shorter than the `context` given.
    """
    if Path(find(setting, path).place).suffix == ".gguf":
        return None
    source = resolve(setting, path, revision)
    with quiet(), _one_line(source):
        settings = _settings(source)
    size = settings.get_text_config().vocab_size
    return Shape(vocab_size=size, context=_room(settings, context))


def load_policy(config: HFSettings) -> HFPolicy:
    """The policy, with new adapters if configured."""
    if config.compile:
        _check_compiler()
    source = resolve("model.path", config.path, config.revision)
    model = _load(source, config.dtype, config.attention)
    context = _room(model.config, config.context)
    if config.gradient_checkpointing:
        enable: Any = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    shares = try_out(model, source.setting, samples=True)
    trained = adapt(model, config.lora) if config.lora.rank else model
    policy = HFPolicy(trained, context=context, adapted=trained is not model, shares=shares)
    policy.checkpointing = config.gradient_checkpointing
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
    shares = try_out(model, source.setting, samples=False)
    policy = HFPolicy(model, context=_room(model.config), shares=shares)
    return policy.requires_grad_(False)


def fit_teacher(
    path: str,
    model: HFPolicy | Shape,
    tokenizer: LanguageTokenizer,
    *,
    revision: str | None = None,
) -> None:
    """Cut the teacher's logits to as many as the policy has; both are for the same tokens.

    Models with the same tokenizer can have differently padded output layers. Raises ConfigError if
    the teacher has another tokenizer, or fewer logits.
    """
    source = resolve("teacher.path", path, revision)
    inner, _, stops = _tokenizer(source)
    difference = tokenizer.difference(inner, stops)
    if difference is not None:
        raise ConfigError(f"{source.setting}: {difference}; a teacher needs the policy's tokens")
    size = tokenizer.vocab_size
    if model.vocab_size < size:
        raise ConfigError(
            f"{source.setting}: it has {model.vocab_size} logits, the policy {size} for the same "
            "tokens; a teacher may have more of them than the policy, but not fewer"
        )
    if isinstance(model, HFPolicy) and model.vocab_size > size:
        with quiet():
            model.causal.resize_token_embeddings(size)


def unpacked(file: Path) -> Path:
    """The directory with a GGUF file's weights in float32, made once and kept.

    Reading the GGUF format takes a hundred times as long. The directory is named after the file's
    digest, under $CHORD_CACHE, by default ~/.cache/chord.
    """
    root = cache_directory()
    place = root / f"{file.stem}-{file_hash(file)[:16]}"
    if place.is_dir():
        return place
    root.mkdir(parents=True, exist_ok=True)
    say(f"reading {file.name}, once; its weights are kept in {place}")
    source = Source(f"model.path={file}", str(file.parent), {"local_files_only": True})
    arguments = source.arguments | {"gguf_file": file.name}
    partial = Path(tempfile.mkdtemp(dir=root))
    try:
        with quiet(), _one_line(source):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                source.place, **NO_CODE, **arguments
            )
            model = _complete(
                source,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
                **arguments,
            )
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        with contextlib.suppress(OSError):  # another process was faster
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place


def _settings(source: Source) -> Any:
    """A model's config.json; ConfigError if it brings code with it."""
    settings = transformers.AutoConfig.from_pretrained(source.place, **NO_CODE, **source.arguments)
    asked = str(settings._attn_implementation)
    if "/" in asked:
        raise ConfigError(f"its config.json asks for attention from {asked}, which is a hub's code")
    return settings


def _load(source: Source, dtype: str, attention: str) -> PreTrainedModel:
    with quiet(), _one_line(source):
        refuse_larger(Path(source.place), _settings(source))
        model = _complete(
            source,
            dtype=getattr(torch, dtype),
            attn_implementation=None if attention == "auto" else attention,
            **source.arguments,
        )
    _without_dropout(model)
    model.eval()
    return model


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


def _complete(source: Source, **arguments: Any) -> PreTrainedModel:
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


def _without_dropout(model: nn.Module) -> None:
    """Remove dropout: rollouts and ratios must see the same policy, whatever mode a layer is in."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _room(settings: Any, wanted: int | None = None) -> int:
    """The configured context, by default all that the model supports; ConfigError for more."""
    known = int(getattr(settings.get_text_config(), "max_position_embeddings", None) or 2**31)
    if wanted is not None and wanted > known:
        raise ConfigError(f"model.context={wanted}: must be at most {known}, what the model knows")
    return wanted or known


def _tokenizer(source: Source) -> tuple[Any, int, frozenset[int]]:
    """A model's tokenizer, its number of logits, and the end tokens from its settings."""
    with quiet(), _one_line(source):
        inner = transformers.AutoTokenizer.from_pretrained(
            source.place, **NO_CODE, **source.arguments
        )
        settings = _settings(source)
        size = settings.get_text_config().vocab_size
        # If a directory lacks the files, transformers makes an empty tokenizer.
        if not set(inner.get_vocab()) - set(inner.all_special_tokens):
            raise ConfigError("it holds no tokenizer, as tokenizer.save_pretrained writes it")
        return inner, size, _stop_ids(source, settings)


def _stop_ids(source: Source, settings: Any) -> frozenset[int]:
    """The end tokens in the model's generation settings."""
    try:
        generation = transformers.GenerationConfig.from_pretrained(
            source.place, **source.arguments
        ).eos_token_id
    except OSError:
        generation = settings.get_text_config().eos_token_id
    ids = generation if isinstance(generation, list) else [generation]
    return frozenset(int(token) for token in ids if token is not None)


@contextlib.contextmanager
def _one_line(source: Source) -> Iterator[None]:
    """An error of transformers or the hub, in one sentence."""
    try:
        yield
    except Exception as error:  # the libraries raise many kinds
        text = first_line(error).rstrip()
        if text.endswith(":"):  # a list follows
            text = " ".join(str(error).split())
        raise ConfigError(f"{source.setting}: can't be loaded ({text})") from error
