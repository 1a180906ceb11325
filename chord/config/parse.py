"""From what Hydra has composed to checked objects."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from chord.config.consistency import check
from chord.config.registry import SECOND
from chord.config.root import EvaluateConfig, TrainConfig
from chord.config.schemas import _parts
from chord.errors import ConfigError, suggest

T = TypeVar("T", TrainConfig, EvaluateConfig)


MOST_STEPS = 10_000_000
"""Schedules are looked at step by step before a run begins."""


def parse(cfg: DictConfig, root: type[T]) -> T:
    """Turn a composed configuration into checked objects.

    Raises `ConfigError` for a missing value, a key that no schema knows (also one added with
    `+`), a wrong type, a value out of range, or settings that contradict each other.
    """
    reject_missing(cfg)
    reject_unknown(cfg)
    reject_endless(OmegaConf.to_container(cfg, resolve=True))
    if "steps" in cfg and cfg.steps < 1:
        # Before the options that derive their own length from it, and would be named instead.
        raise ConfigError(f"steps={cfg.steps}: must be at least 1")
    if "steps" in cfg and cfg.steps > MOST_STEPS:
        # What is looked at beforehand for each step would take for ever.
        raise ConfigError(f"steps={cfg.steps}: must be at most {MOST_STEPS}")
    try:
        config = OmegaConf.to_object(cfg)
    except ValueError as error:
        raise ConfigError(_of_setting(cfg, str(error))) from error
    assert isinstance(config, root)
    if isinstance(config, TrainConfig):
        check(config)
    return config


def _of_setting(cfg: DictConfig, message: str) -> str:
    """The message of an option, which knows its group, with the setting that holds the option."""
    for setting, group in (SECOND | _parts(cfg)).items():
        if OmegaConf.select(cfg, setting) is None:
            continue
        try:
            OmegaConf.to_object(OmegaConf.select(cfg, setting))
        except ValueError as error:
            if str(error) == message:
                return message.replace(f"{group}.", f"{setting}.")
    return message


def reject_missing(cfg: DictConfig) -> None:
    """Every `???` must have been given."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ConfigError(f"{key}: has no value; give it as {key}=VALUE")


def reject_unknown(cfg: DictConfig, path: str = "") -> None:
    """Hydra accepts `+new=1` and `++typo=1` silently; no schema knows these keys."""
    schema = OmegaConf.get_type(cfg)
    known = [field.name for field in fields(schema)] if is_dataclass(schema) else None
    for key in cfg:
        full = f"{path}.{key!s}" if path else str(key)
        if known is not None and key not in known:
            value = OmegaConf.select(cfg, str(key))
            named = suggest(str(key), known, where="--cfg job shows all")
            raise ConfigError(f"{full}={value}: no such setting{named}")
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            reject_unknown(node, full)


def reject_endless(values: Any, path: str = "") -> None:
    """A whole number beyond 64 bits counts nothing, and arithmetic can't take it."""
    if isinstance(values, int) and abs(values) >= 2**63:
        shown = f"{Decimal(values):.1e}"
        raise ConfigError(f"{path}={shown}: must be a whole number below 2**63")
    for key, value in values.items() if isinstance(values, dict) else ():
        reject_endless(value, f"{path}.{key}".removeprefix("."))
    for place, value in enumerate(values) if isinstance(values, list) else ():
        reject_endless(value, f"{path}[{place}]")
