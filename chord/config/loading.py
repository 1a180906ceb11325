"""Hydra's loader, with the mistakes named that it would not name, or not find."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.config.overrides import parsed
from chord.config.root import ROOTS
from chord.errors import ConfigError, config_errors, first_line, suggest

LOGGERS = "must be true, false or the name of an installed package, or a list of such names"


@dataclass(frozen=True)
class Base:
    """What is composed in place of a file of `conf/`.

    `name`: of the primary configuration, which is among the `nodes`, all by the paths under which
    Hydra reads them. `finish`: what is done with what was composed.
    """

    name: str
    nodes: Mapping[str, Any]
    finish: Callable[[DictConfig], None]


FindBase = Callable[[str | None, Sequence[str]], Base | None]
"""From the name of the primary configuration and what was typed."""
# State: commands that compose upon a run say so once, and this module knows none of them.
_finders: list[FindBase] = []


def compose_upon(find: FindBase) -> None:
    """Have what is composed from now on stand upon what `find` finds, if it finds anything."""
    if find not in _finders:
        _finders.append(find)


@contextmanager
def _stored(nodes: Mapping[str, Any]) -> Iterator[None]:
    """The nodes in Hydra's store, within."""
    repository = ConfigStore.instance().repo
    for path, node in nodes.items():
        group, _, name = path.rpartition("/")
        ConfigStore.instance().store(name=name, node=node, group=group or None)
    try:
        yield
    finally:
        for path in nodes:
            group, _, name = path.rpartition("/")
            del (repository[group] if group else repository)[f"{name}.yaml"]


def compose_or_refuse() -> None:
    """Have Hydra's loader raise `ConfigError` for what it accepts or words badly.

    It is checked what was typed, before it is composed, and references to other settings after.
    """
    original = ConfigLoaderImpl.load_configuration
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], **settings: Any
    ) -> DictConfig:
        check_typed(self, overrides)
        try:
            with config_errors():
                found = (find(config_name, overrides) for find in _finders)
                base = next((base for base in found if base is not None), None)
                if base is None:
                    composed = original(self, config_name, overrides, **settings)
                else:
                    with _stored(base.nodes):
                        composed = original(self, base.name, overrides, **settings)
                    base.finish(composed)
        except RecursionError as error:
            raise ConfigError(
                "the configuration: a defaults list leads back to the file that it is in"
            ) from error
        check_references(composed)
        return composed

    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[assignment,method-assign]


_parsed = functools.lru_cache(maxsize=1024)(parsed)
"""Jobs of a sweep have most of their settings in common."""


def check_typed(loader: ConfigLoaderImpl, typed: Sequence[str]) -> None:
    """Refuse options, places and loggers that can't be meant; raises `ConfigError`."""
    for word in typed:
        override = _parsed(word)
        if override is not None and override.is_delete():
            _check_removed(loader, override)
        if override is None or override.is_delete() or override.is_sweep_override():
            continue
        if not override.key_or_group:
            raise ConfigError(f"{word}: must be SETTING=VALUE")
        _check_option(loader, override)
        if override.key_or_group == "hydra.searchpath":
            _check_places(override)
        if override.key_or_group == "hydra.verbose":
            _check_loggers(override)


def _check_removed(loader: ConfigLoaderImpl, override: Override) -> None:
    """What every configuration has: without it, something else would be named."""
    name = override.key_or_group
    if override.package or name not in {
        each.name for root in ROOTS.values() for each in fields(root)
    }:
        return
    if loader.repository.group_exists(name):
        raise ConfigError(f"~{name}: can't be left out; {name}=OPTION chooses another option")
    raise ConfigError(f"~{name}: a setting can't be removed; without it, it has its default")


def _check_option(loader: ConfigLoaderImpl, override: Override) -> None:
    group, value = override.key_or_group, override.value()
    if not loader.repository.group_exists(group):
        return
    options = loader.get_group_options(group)
    is_name = not isinstance(value, bool | int | float | dict | None)
    # Of one that is chosen a second time, Hydra would name the first.
    unknown = override.package and is_name and "/" not in str(value) and str(value) not in options
    if options and (unknown or not is_name):
        named = suggest(str(value), options, where="--help lists all")
        raise ConfigError(f"{override.input_line}: no such option{named}")
    if not is_name:
        raise ConfigError(f"{override.input_line}: is a group of groups, and has no options")


def _check_places(override: Override) -> None:
    """Directories and packages of `hydra.searchpath`; Hydra goes on without those it lacks."""
    places = override.value()
    for place in places if isinstance(places, list) else [places]:
        scheme, _, rest = str(place).rpartition("://")
        there = _package(rest.split("/")[0]) if scheme == "pkg" else Path(rest).is_dir()
        if not there and scheme in ("", "file", "pkg"):
            kind = "package" if scheme == "pkg" else "directory"
            raise ConfigError(f"hydra.searchpath={place}: no such {kind}")


def _check_loggers(override: Override) -> None:
    """The names of `hydra.verbose`; Hydra makes a logger of any that is not there."""
    given = override.value()
    for name in given if isinstance(given, list) else [given]:
        known = isinstance(name, bool) or str(name) == "root" or _package(str(name))
        if not known or (isinstance(name, bool) and isinstance(given, list)):
            raise ConfigError(f"hydra.verbose={name}: {LOGGERS}")


def _package(name: str) -> bool:
    top = name.split(".")[0]
    return top.isidentifier() and find_spec(top) is not None


def check_references(cfg: DictConfig) -> None:
    """Refuse a reference that leads nowhere, with the setting that it is the value of.

    Of Hydra's own settings some are there only when a job runs.
    """
    for name in cfg:
        if name != "hydra":
            for path, text in _references(cfg._get_node(name), str(name)):
                try:
                    OmegaConf.select(cfg, path)
                except OmegaConfBaseException as error:
                    if reason := _why(error):
                        raise ConfigError(f"{path}={text}: {reason}") from error


def _references(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if node._is_interpolation():
        yield path, str(node._value())
    elif OmegaConf.is_config(node) and not (node._is_none() or node._is_missing()):
        keys = range(len(node)) if OmegaConf.is_list(node) else node
        for key in keys:
            yield from _references(node._get_node(key), f"{path}.{key}")


def _why(error: OmegaConfBaseException) -> str:
    """What is wrong with a reference, so far as that is certain before the run; else empty."""
    said = first_line(error)
    for pattern, reason in (
        (r"Environment variable '(.*?)' not found", r"the environment variable \1 is not set"),
        (r"Interpolation key '(.*?)' not found", r"there is no setting \1"),
        (r"Unsupported interpolation type (\S+)", r"there is no resolver \1"),
        (r"Recursive interpolation", "refers to itself"),
    ):
        if found := re.search(pattern, said):
            return found.expand(reason)
    return ""
