"""What Hydra composes a configuration from: schemas, plugins, and the files under `conf/`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf, flag_override

from chord.config.lean import spare
from chord.config.loading import compose_or_refuse
from chord.config.location import _AT_LEAST_1_4, CONF_DIR, VERSION_BASE
from chord.config.overrides import refuse_empty
from chord.config.parse import parse
from chord.config.plugins import load
from chord.config.registry import SCHEMAS, SECOND
from chord.config.root import ROOTS, TrainConfig
from chord.config.search import SweeperConfig
from chord.config.trust.code import check_composed
from chord.config.trust.composing import guard
from chord.errors import ConfigError


def register() -> None:
    """Store every schema in Hydra's ConfigStore, in groups of their own (`schema/...`).

    Then the installed plugins add theirs; `ConfigError` names one that can't be loaded. From here
    on files are checked by where Hydra reads them from (`chord.config.trust.files`).
    The two resolvers let a resumed run go on in its own directory, where Hydra must not write its
    `.hydra` files a second time.
    """
    # Each name is deprecated in the omegaconf that comes with the other Hydra.
    name = "register_resolver" if _AT_LEAST_1_4 else "register_new_resolver"
    add_resolver = getattr(OmegaConf, name)
    add_resolver("chord_run_dir", lambda resume, new: resume or new, replace=True)
    add_resolver("chord_subdir", lambda resume: None if resume else ".hydra", replace=True)
    store = ConfigStore.instance()
    # Every command registers; Hydra 1.4 wants to be told that it may replace what is there.
    again: dict[str, Any] = {"replace": True} if _AT_LEAST_1_4 else {}
    for name, root in ROOTS.items():
        store.store(group="schema", name=name, node=root, **again)
    for group, options in SCHEMAS.items():
        for name, schema in options.items():
            store.store(group=f"schema/{group}", name=name, node=schema, **again)
    store.store(group="hydra/sweeper", name="chord", node=SweeperConfig, **again)
    guard()
    compose_or_refuse()
    spare()
    load()


def register_options() -> None:
    """`register()` for a module that is a command, or that a launcher's process imports.

    What is wrong with a plugin is said when the command is launched.
    """
    with suppress(ConfigError):
        register()


def reading_conf() -> AbstractContextManager[None]:
    """Where Hydra's `compose` reads `conf/`, as a command does."""
    return hydra.initialize_config_dir(config_dir=str(CONF_DIR), **VERSION_BASE)


def composed(settings: Sequence[str], config_dir: Path | None = None) -> TrainConfig:
    """The checked configuration of what is typed for `chord.train`, as other commands take it.

    Raises what composing raises, and `ConfigError`.
    """
    with reading_conf():
        config = checked(compose_typed(settings, config_dir), settings)
    if config.dry_run:
        raise ConfigError("dry_run=true: only chord.train has it; leave it out")
    return config


def compose_typed(settings: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """What Hydra composes of `settings` while `reading_conf`, with its own node.

    `config_dir` is read, and trusted no further, as with `chord.train --config-dir`.
    """
    place = []
    refuse_empty(settings)
    if config_dir is not None:
        check_config_dir(config_dir)
        path = QuotedString(text=f"file://{config_dir.resolve()}", quote=Quote.single)
        place = [f"hydra.searchpath=[{path.with_quotes()}]"]
    return hydra.compose("train", [*place, *settings], return_hydra_config=True)


def check_config_dir(path: Path) -> None:
    """Raise `ConfigError` where `--config-dir` names no directory."""
    if not path.is_dir():
        raise ConfigError(f"--config-dir {path}: no such directory; give one with your own options")


def checked(cfg: DictConfig, typed: Sequence[str]) -> TrainConfig:
    """The checked configuration that was composed, with Hydra's own node, of what was `typed`.

    Raises `ConfigError`, also for `resume`: the commands that ask take no step.
    """
    check_composed(cfg, cfg.hydra, typed)
    check_chosen(cfg, cfg.hydra)
    with flag_override(cfg, ["struct", "readonly"], False):
        del cfg["hydra"]
    config = parse(cfg, TrainConfig)
    if config.resume is not None:
        raise ConfigError(
            f"resume={config.resume}: only chord.train goes on with a run; leave it out, and "
            "give the run's own settings"
        )
    return config


def check_chosen(cfg: DictConfig, hydra: Any) -> None:
    """Refuse several options of a group, of which Hydra would merge the values."""
    groups = {**{group: group for group in SCHEMAS}, **SECOND}
    for setting, group in groups.items():
        name = group if setting == group else f"{group}@{setting}"
        if setting in cfg and name not in hydra.runtime.choices:
            raise ConfigError(f"{name}: must be one option, not a list")
