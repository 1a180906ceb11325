"""Which schema each option has, by name: what a saved configuration is restored with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS, SECOND
from chord.config.root import TrainConfig
from chord.errors import ConfigError


def base_class(group: str) -> type:
    """What every option of a group inherits from."""
    base = get_type_hints(TrainConfig)[group]
    assert isinstance(base, type)
    return base


def _parts(cfg: DictConfig) -> dict[str, str]:
    """The parts of a weighted reward: each holds an option of its group."""
    parts = OmegaConf.select(cfg, "reward.parts") or {}
    return {f"reward.parts.{name}": "reward" for name in parts}


def registered_name(group: str, option: Any) -> str:
    """The registry's name of an object's class: `registered_name('schedule', Cosine(...))`."""
    return next(name for name, schema in SCHEMAS[group].items() if schema is type(option))


def schema_names(cfg: DictConfig) -> dict[str, str]:
    """Which schema each group has: what `restore` needs beside the values."""
    names: dict[str, str] = {}
    for setting, options in (_options() | _of(_parts(cfg))).items():
        if OmegaConf.select(cfg, setting) is not None:
            schema = OmegaConf.get_type(OmegaConf.select(cfg, setting))
            names[setting] = next(name for name, known in options.items() if known is schema)
    return names


def schema_of_option(group: str, option: str) -> str | None:
    """The schema that the file of an option of chord's names; None where that is not known."""
    file = CONF_DIR / group / f"{Path(option).name}.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(rf"/schema/{re.escape(group)}/([\w+]+)@_here_", text)
    return found[1] if found else None


def _options() -> dict[str, dict[str, type]]:
    """The options of every setting that holds one."""
    return SCHEMAS | _of(SECOND)


def _of(settings: dict[str, str]) -> dict[str, dict[str, type]]:
    return {setting: SCHEMAS[group] for setting, group in settings.items()}


def restore(values: DictConfig | ListConfig, names: dict[str, str]) -> DictConfig:
    """A typed configuration from saved values and the names of their schemas."""
    typed = OmegaConf.structured(TrainConfig)
    known = _options() | _of({name: "reward" for name in names if name.startswith("reward.parts.")})
    for setting, name in names.items():
        if name not in known[setting]:
            raise ConfigError(f"{setting}={name}: no such schema; a plugin that is not installed?")
        schema = known[setting][name]
        OmegaConf.update(typed, setting, OmegaConf.structured(schema), merge=False)
    merged = OmegaConf.merge(typed, values)
    assert isinstance(merged, DictConfig)
    return merged
