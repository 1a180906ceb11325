"""What Hydra makes of the files that it has read: no file from elsewhere has a say in its own node.

`files` looks at what a file says; where it lands is Hydra's to find: packages have brackets and
parents. So a file is looked at again once Hydra has put it there, and then the whole.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from chord.config.search import SearchConfig
from chord.config.trust.files import (
    COMMAND_LINE,
    check,
    check_content,
    file_of,
    is_foreign,
    leaves,
    look_at,
)
from chord.errors import ConfigError

FROM_ELSEWHERE = "chord_from_elsewhere"
"""A flag of a configuration that files from elsewhere are a part of."""


def guard_composing() -> None:
    """Check every file where Hydra puts it, and the whole that it is a part of."""
    embed = ConfigLoaderImpl._load_single_config
    compose = ConfigLoaderImpl._compose_config_from_defaults_list

    @functools.wraps(embed)
    def _load_single_config(
        self: ConfigLoaderImpl, default: ResultDefault, repo: IConfigRepository
    ) -> ConfigResult:
        result = embed(self, default, repo)
        if is_foreign(result.path, str(default.config_path)):
            content = OmegaConf.to_container(result.config, resolve=False)
            assert isinstance(content, dict)
            check_content(file_of(result, str(default.config_path)), content)
        return result

    @functools.wraps(compose)
    def _compose_config_from_defaults_list(
        self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        own = _own(defaults, repo)
        if len(own) == len(defaults):
            return compose(self, defaults, repo)
        # Composing writes into what it has read.
        without = compose(self, own, copy.deepcopy(repo))
        composed = compose(self, defaults, repo)
        check_whole(composed, without)
        composed._set_flag(FROM_ELSEWHERE, True)
        return composed

    ConfigLoaderImpl._load_single_config = _load_single_config  # type: ignore[method-assign]
    ConfigLoaderImpl._compose_config_from_defaults_list = (  # type: ignore[method-assign]
        _compose_config_from_defaults_list
    )


def _own(defaults: Sequence[ResultDefault], repo: IConfigRepository) -> list[ResultDefault]:
    """The files that are chord's or a package's, but those that a file from elsewhere brings in."""
    elsewhere: set[str | None] = set()
    for path in {str(default.config_path) for default in defaults}:
        read = repo.load_config(path)
        if read is not None and is_foreign(read.path, path):
            elsewhere.add(path)
    while more := {d.config_path for d in defaults if d.parent in elsewhere} - elsewhere:
        elsewhere |= more
    return [d for d in defaults if not elsewhere & {d.config_path, d.parent}]


def check_whole(composed: DictConfig, own: DictConfig) -> None:
    """Raise `ConfigError` where a setting that files from elsewhere have no say in is another than
    in `own`, which is composed without them."""
    said, theirs = _kept(composed), _kept(own)
    for key in sorted(said | theirs):
        if said.get(key) != theirs.get(key):
            value = said[key][0] if key in said else "null"
            raise ConfigError(
                f"{key}={value}: a file from a directory of the command line can't set it; of "
                "Hydra's settings a file can set only a search (hydra.sweeper); give the others "
                "on the command line"
            )


def _kept(cfg: DictConfig) -> dict[str, list[Any]]:
    """The values, unresolved, of the settings that no file from elsewhere has a say in."""
    free = {field.name for field in fields(SearchConfig)} - {"storage"}
    tree = {name: cfg._get_node(name) for name in ("hydra", *COMMAND_LINE) if name in cfg}
    content = OmegaConf.to_container(OmegaConf.create(tree), resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    sweeper = content.get("hydra", {}).get("sweeper", {})
    for name in free & set(sweeper):
        del sweeper[name]
    found: dict[str, list[Any]] = {}
    for key, value in leaves(content):
        found.setdefault(key, []).append(value)
    return found


def guard() -> None:
    """Check every file when Hydra reads it, in each process once; then what is composed of them."""
    original = ConfigRepository.load_config
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        look_at(self._find_object_source(config_path, ObjectType.CONFIG), config_path)
        result: ConfigResult | None = original(self, config_path)
        if result is not None and is_foreign(result.path, config_path):
            check(result, config_path)
        return result

    ConfigRepository.load_config = load_config  # type: ignore[method-assign]
    guard_composing()
