"""Which settings need trust, for they name code, a server or a place; did the user name it?

An option of a plugin is code that is installed, and its module is imported at start anyway. But
what its class does with settings is not chord's to know, so whoever chooses it has to be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from chord.config.location import CONF_DIR
from chord.config.plugins import owners
from chord.config.trainer import WRITING, TrainerConfig
from chord.config.trust.composing import FROM_ELSEWHERE
from chord.config.trust.files import is_foreign
from chord.errors import ConfigError
from chord.rewards import Function
from chord.rollout import RolloutConfig

PACKAGED = "pkg://"
PLACES = {
    "server": "names a server, which gets prompts and weights",
    "server_directory": "names a directory that weights are written to",
}
"""Settings of a rollout that say where things go, and what they do."""
_DOES = {f"rollout.{name}": does for name, does in PLACES.items()} | {
    f"trainer.extra.{name}": does for name, does in WRITING.items()
}


def entrusted(cfg: DictConfig) -> dict[str, str]:
    """The settings that name what only the user may choose, and what each names.

    Code to import: `reward.function` (also of a part of a weighted reward), paths into packages,
    what vLLM is given beside numbers (it takes names of classes), and options of plugins, by the
    name of their schema. And where prompts and weights go, `rollout.server` and its directory, and
    what Lightning writes elsewhere.
    """
    of_plugins, below = owners(), list(nodes(cfg))
    values = {path: value for path, _, value in below}
    found = {path: of_plugins[kind][0] for path, kind, _ in below if kind in of_plugins}
    for path, kind, value in below:
        if isinstance(value, str) and value.startswith(PACKAGED):
            found[path] = value
        name = f"{path}.function"
        if kind is not None and issubclass(kind, Function) and name in values:
            found[name] = str(values[name])
        if kind is not None and issubclass(kind, RolloutConfig):
            given = {name: v for name, v in values.items() if name.startswith(f"{path}.vllm.")}
            # Lists and mappings are there item by item.
            harmless = (int, float, DictConfig, ListConfig)
            found |= {name: str(v) for name, v in given.items() if type(v) not in harmless}
            places = {f"{path}.{name}": values.get(f"{path}.{name}") for name in PLACES}
            found |= {name: str(v) for name, v in places.items() if v is not None}
        if kind is not None and issubclass(kind, TrainerConfig):
            writing = {name: values.get(name) for name in (f"{path}.extra.{n}" for n in WRITING)}
            found |= {name: str(v) for name, v in writing.items() if v is not None}
    return found


def what(setting: str) -> str:
    """What a setting among those of `entrusted` does."""
    return _DOES.get(setting, "names code to import")


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, type | None, Any]]:
    """Every node below with its full key, the class of its schema (else None) and its value.

    The value is the text where it can't be resolved: what it will be is not known. One that is
    missing is left out: `parse` says so.
    """
    if not isinstance(node, DictConfig | ListConfig) or node._is_none():
        yield path, None, node
        # What a resolver has made: `${oc.select:x,{a: b}}`.
        each = node.items() if isinstance(node, dict) else []
        for key, value in each if not isinstance(node, list) else enumerate(node):
            yield from nodes(value, f"{path}.{key}" if path else str(key))
        return
    yield path, OmegaConf.get_type(node) if isinstance(node, DictConfig) else None, node
    keys: list[Any] = list(node) if isinstance(node, DictConfig) else list(range(len(node)))
    for key in keys:
        try:
            below = node[key]
        except MissingMandatoryValue:
            continue
        except OmegaConfBaseException:
            child: Any = node._get_node(key)
            below = str(child._value())
        yield from nodes(below, f"{path}.{key}" if path else str(key))


def check_composed(cfg: DictConfig, hydra: Any, typed: Sequence[str] | None = None) -> None:
    """Refuse what `entrusted` has of a file from elsewhere, but with `trust=true`.

    `typed` is what the user typed, if it isn't just what `hydra` has for this configuration.
    Raises `ConfigError`.
    """
    files = foreign_files(hydra)
    if cfg.trust or not (files or cfg._get_flag(FROM_ELSEWHERE)):
        return
    said = values(hydra.overrides.task if typed is None else typed)
    options = plugin_options(cfg)
    for setting, name in entrusted(cfg).items():
        chosen = options.get(setting, set()) if setting in options else {name}
        if chosen & said.get(setting, set()) or shipped(name):
            continue
        likely = [file for file in files if name in file.read_text()] + files
        file = likely[0] if likely else "a file from a directory of the command line"
        raise ConfigError(
            f"{setting}={name}: {file} {what(setting)}; if you trust it, add trust=true, or "
            "give the setting itself on the command line"
        )


def plugin_options(cfg: DictConfig) -> dict[str, set[str]]:
    """For each setting that holds a plugin's option: the options that the plugin has files for."""
    found = {}
    for path, kind, _ in nodes(cfg):
        if kind in owners():
            _, group, folders = owners()[kind]
            found[path] = {
                file.stem for folder in folders for file in folder.glob(f"{group}/*.yaml")
            }
    return found


def foreign_files(hydra: Any) -> list[Path]:
    """The files from elsewhere among the chosen options, and the primary one if it is.

    Not all: Hydra does not say which ones an option in brackets, or a file, has brought in.
    """
    sources = [(f"{s.schema}://{s.path}", Path(s.path)) for s in hydra.runtime.config_sources]
    names = [f"{key.partition('@')[0]}/{option}" for key, option in hydra.runtime.choices.items()]
    found = []
    for name in (str(hydra.job.config_name), *names):
        for source, place in sources:
            if source.startswith("file://") and (place / f"{name}.yaml").is_file():
                if is_foreign(source, name):
                    found.append(place / f"{name}.yaml")
                break
    return found


def values(typed: Sequence[str]) -> dict[str, set[str]]:
    """Every value that was typed for each setting, those to be swept over included.

    An option is a value of the setting that holds it: `weighting@off_policy=luffy`.
    """
    said: dict[str, set[str]] = {}
    parser = OverridesParser.create()
    for override in parser.parse_overrides(list(typed)):
        setting = override.package or override.key_or_group
        if isinstance(override.value(), Glob):
            continue  # whatever files there are: it names none of them
        if override.is_sweep_override() and override.is_discrete_sweep():
            each = [f"x={value}" for value in override.sweep_string_iterator()]
            for choice in parser.parse_overrides(each):
                _add(said, setting, choice.value())
        else:
            _add(said, setting, override.value())
    return said


def _add(said: dict[str, set[str]], setting: str, given: object) -> None:
    if isinstance(given, Mapping):
        for name, value in given.items():
            _add(said, f"{setting}.{name}", value)
    elif isinstance(given, list | tuple):
        for number, value in enumerate(given):
            _add(said, f"{setting}.{number}", value)
            _add(said, setting, value)
    else:
        said.setdefault(setting, set()).add(str(given))


def shipped(name: str) -> bool:
    """Whether it is a path into a package that an option of chord's has: `model=smollm2`."""
    line = re.compile(rf"^\w+: {re.escape(name)}\s*(#.*)?$", re.M)
    return name.startswith(PACKAGED) and any(
        line.search(file.read_text()) for file in CONF_DIR.glob("*/*.yaml")
    )
