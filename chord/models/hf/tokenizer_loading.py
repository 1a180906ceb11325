"""The tokenizer of a model's directory, and whether a teacher's is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chord.errors import ConfigError, first_line
from chord.models.base import Shape
from chord.models.hf.library import transformers
from chord.models.hf.policy import HFPolicy
from chord.models.hf.quiet import quiet
from chord.models.hf.resolving import resolve
from chord.models.hf.source import Source
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.models.hf.weights import NO_CODE, one_line, read_settings

if TYPE_CHECKING:
    from chord.models.hf.settings import HFSettings


def load_tokenizer(config: HFSettings) -> LanguageTokenizer:
    """The tokenizer of `model.path`; a one-line ConfigError if there is none that fits."""
    inner, size, stops = open_tokenizer(resolve("model.path", config.path, config.revision))
    if config.chat_template is not None:
        # Saved and exported with the tokenizer.
        inner.chat_template = read_template(config.chat_template)
    return LanguageTokenizer(
        inner=inner,
        name=config.path,
        vocab_size=size,
        chat=config.chat,
        system=config.system,
        stops=stops,
        variables=config.chat_kwargs,
    )


def read_template(path: str) -> str:
    """The text of a file; a one-line ConfigError if it can't be read."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"model.chat_template={path}: can't be read ({first_line(error)})"
        ) from error


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
    inner, _, stops = open_tokenizer(source)
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


def open_tokenizer(source: Source) -> tuple[Any, int, frozenset[int]]:
    """A model's tokenizer, its number of logits, and the end tokens from its settings."""
    with quiet(), one_line(source):
        inner = transformers.AutoTokenizer.from_pretrained(
            source.place, **NO_CODE, **source.arguments
        )
        settings = read_settings(source)
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
