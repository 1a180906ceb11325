"""Settings as they are typed: read as Hydra reads them, and written so that it reads them back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.errors import ConfigError


def parsed(argument: str) -> Override | None:
    """One argument as an override; None for a flag, and for what Hydra will refuse itself."""
    if argument.startswith("-"):
        return None
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def given(arguments: Sequence[str]) -> dict[str, str]:
    """The single values that were typed, by setting, without quotes; null as `null`.

    Several values of one setting are not among them: they are a sweep's.
    """
    found = {}
    for argument in arguments:
        override = parsed(argument)
        if override is not None and not override.is_sweep_override():
            read = _read(override)
            value = "null" if override.value() is None else override.get_value_element_as_str()
            found[override.key_or_group] = value if read is None else read
    return found


PLACES = ("run", "resume", "fork", "resume_sweep", "hydra.run.dir", "hydra.sweep.dir", "to")
"""Settings that name a directory."""


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise `ConfigError` for an empty word, and for an empty name, which is no directory's.

    A shell makes them of a variable that is not set; they would be the current directory.
    """
    if "" in arguments:
        raise ConfigError("'': an argument is empty; it may be of a variable that is not set")
    values = given(arguments)
    for name in (*PLACES, "problems"):
        if values.get(name) == "":
            kind = "file" if name == "problems" else "directory"
            raise ConfigError(f"{name}=: names no {kind}; give one, or leave {name}= out")


def swept(arguments: Sequence[str], name: str) -> list[str]:
    """The values that were typed for one setting of a sweep; empty for one that has no several."""
    found = []
    for argument in arguments:
        override = parsed(argument)
        if override is not None and override.key_or_group == name and override.is_discrete_sweep():
            values = override.sweep_iterator(transformer=lambda value: value)
            found += [v.text if isinstance(v, QuotedString) else str(v) for v in values]
    return found


def setting(name: str, value: str | Path) -> str:
    """`name=value` as an argument that Hydra reads as that very text, quoted where it has to be.

    `setting("resume", "a b=1")` is `resume='a b=1'`.
    """
    text = str(value)
    quoted = QuotedString(text=text, quote=Quote.single).with_quotes()
    escaped = QuotedString(text=text.replace("${", "\\${"), quote=Quote.single).with_quotes()
    for written in (text, quoted, escaped):
        override = parsed(f"{name}={written}")
        if override is not None and not override.is_sweep_override() and _read(override) == text:
            return f"{name}={written}"
    return f"{name}={quoted}"


def typed(name: str, value: str | Path) -> str:
    """`setting` as one types it in a shell."""
    return shlex.quote(setting(name, value))


def _read(override: Override) -> str | None:
    """What a setting of texts holds then; None for what is no text, or not to be resolved yet."""
    if override.value() is None:
        return None
    try:
        return str(OmegaConf.create({"value": override.value()})["value"])
    except OmegaConfBaseException:
        return None
