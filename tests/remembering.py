"""Composing as Hydra does, but what the chosen options come to only once in a process.

Finding the files of the options and putting them together is three quarters of the time that Hydra
takes; values are set afterwards, by its own functions. Commands with files from elsewhere compose
anew. `test_remembered_options_compose_as_hydra_does` compares.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf

from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS

OWN = ("pkg://hydra.conf", f"file://{CONF_DIR}", "structured://")
_known: dict[Hashable, Any] = {}
_off = False


def remember() -> None:
    """Have Hydra remember, from now on."""
    read = ConfigRepository.load_config
    find = config_loader_impl.create_defaults_list
    put_together = ConfigLoaderImpl._compose_config_from_defaults_list

    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        # The store of schemas has no files, and plugins add to it.
        if _off or source is None or _place(source) not in OWN[:2]:
            return read(self, config_path)
        key = ("file", _place(source), config_path)
        if key not in _known:
            _known[key] = read(self, config_path)
        result: ConfigResult = copy.deepcopy(_known[key])
        return result

    def create_defaults_list(
        repo: Any,
        config_name: str | None,
        overrides_list: Sequence[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> Any:
        def choosing(override: Override) -> bool:
            is_group = bool(repo.group_exists(override.key_or_group))
            return is_group and not isinstance(override.value(), dict)

        typed = [override for override in overrides_list if not override.is_sweep_override()]
        choices = [override for override in typed if choosing(override)]
        words = tuple(str(override.input_line) for override in choices)
        key = ("files", config_name, words, prepend_hydra, skip_missing, *_situation())
        if _off or not _is_own(repo):
            return find(repo, config_name, list(overrides_list), prepend_hydra, skip_missing)
        if key not in _known:
            _known[key] = find(repo, config_name, choices, prepend_hydra, skip_missing)
        values = [override for override in typed if override not in choices]
        return replace(_known[key], config_overrides=values)

    def _compose_config_from_defaults_list(
        self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any
    ) -> DictConfig:
        if _off or not _is_own(repo):
            return put_together(self, defaults, repo)
        key = ("config", repr(defaults), *_situation())
        if key not in _known:
            _known[key] = put_together(self, defaults, repo)
        config = copy.deepcopy(_known[key])
        OmegaConf.clear_cache(config)  # with the time at which it was composed
        return config

    ConfigRepository.load_config = load_config  # type: ignore[method-assign]
    config_loader_impl.create_defaults_list = create_defaults_list
    ConfigLoaderImpl._compose_config_from_defaults_list = (  # type: ignore[method-assign]
        _compose_config_from_defaults_list
    )


@contextmanager
def anew() -> Iterator[None]:
    """Nothing is remembered within."""
    global _off
    _off = True
    try:
        yield
    finally:
        _off = False


def _is_own(repo: Any) -> bool:
    return all(_place(source) in OWN for source in repo.get_sources())


def _place(source: ConfigSource) -> str:
    return f"{source.scheme()}://{source.path}"


def _situation() -> tuple[Hashable, ...]:
    """What else decides what is composed: the classes of the options."""
    return tuple(
        (group, option, id(schema))
        for group in SCHEMAS
        for option, schema in SCHEMAS[group].items()
    )
