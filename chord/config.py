"""From a Hydra configuration to checked objects: what a run is configured by, and `parse`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf

from chord.advantages import Advantage
from chord.data.base import DataConfig
from chord.evaluation import Evaluation, check_metric
from chord.gates import Gate
from chord.losses import Objective
from chord.mixes import Mix
from chord.models.base import ModelConfig, Teacher
from chord.optimizer import AdamW
from chord.registry import SCHEMAS, SECOND
from chord.rewards import Grader
from chord.rollout import RolloutConfig
from chord.schedules import Schedule
from chord.targets import Target
from chord.tracking import Tracking
from chord.trainer import TrainerConfig
from chord.weightings import Weighting

_PACKAGED = Path(__file__).parent / "conf"
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"

_AT_LEAST_1_4 = tuple(map(int, hydra.__version__.split(".")[:2])) >= (1, 4)
# Hydra 1.3 warns where this isn't said, and 1.4 where it is.
VERSION_BASE = {} if _AT_LEAST_1_4 else {"version_base": "1.3"}

# numpy's seeds end here, and the last one is kept for evaluations.
MAX_SEED = 2**32 - 1


class ConfigError(ValueError):
    """A configuration that can't be run, said in one line: setting, value, what is allowed."""


@contextmanager
def config_errors() -> Iterator[None]:
    """What the block refuses as ValueError is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_threads(threads: int) -> None:
    """Refuse more threads than there are processors: torch would crash, or crawl."""
    most = os.cpu_count() or 1
    if not 1 <= threads <= most:
        raise ValueError(f"threads={threads}: must be within [1, {most}] on this machine")


@dataclass(kw_only=True)
class TrainConfig:
    """Everything `chord.train` reads. `steps` counts train steps, which schedules see.

    `allow_changed`: settings whose files may have changed since the run that is resumed began.
    `resume_sweep`, `skip_finished` and `sweep_metric` are of a sweep as a whole. `trust`: import
    the code that files and runs from elsewhere name; it holds for a command, no run keeps it.
    """

    steps: int
    seed: int
    threads: int
    resume: str | None
    allow_changed: list[str] = field(default_factory=list)
    trust: bool = False
    resume_sweep: str | None = None
    skip_finished: bool = False
    sweep_metric: str = "val/balance_at_0.5"
    schedule: Schedule
    weighting: Weighting
    objective: Objective
    advantage: Advantage
    gate: Gate
    mix: Mix
    target: Target
    rollout: RolloutConfig
    reward: Grader
    data: DataConfig
    model: ModelConfig
    teacher: Teacher
    optimizer: AdamW
    off_policy: Weighting
    sft_optimizer: AdamW | None = None
    trainer: TrainerConfig
    evaluation: Evaluation
    tracking: Tracking

    def __post_init__(self) -> None:
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed={self.seed}: must be within [0, {MAX_SEED - 1}]")
        check_threads(self.threads)
        check_metric(self.sweep_metric)


@dataclass(kw_only=True)
class EvaluateConfig:
    """Everything `chord.evaluate` reads; the rest comes from the run directory."""

    run: str | None
    trust: bool = False
    split: str
    threads: int | None
    evaluation: Evaluation

    def __post_init__(self) -> None:
        if self.split not in ("val", "test"):
            raise ValueError(f"split={self.split}: must be one of val, test")
        if self.threads is not None:
            check_threads(self.threads)


ROOTS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig}


def register() -> None:
    """Store every schema in Hydra's ConfigStore, in groups of their own (`schema/...`).

    Then the installed plugins add theirs; `ConfigError` names one that can't be loaded. From here
    on files are checked by where Hydra reads them from (`chord.trust.files`).
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
    from chord.sweep.space import SweeperConfig

    store.store(group="hydra/sweeper", name="chord", node=SweeperConfig, **again)
    from chord.plugins import load
    from chord.trust.files import guard

    guard()
    load()


def reading_conf() -> AbstractContextManager[None]:
    """Where Hydra's `compose` reads `conf/`, as a command does."""
    return hydra.initialize_config_dir(config_dir=str(CONF_DIR), **VERSION_BASE)


def composed(settings: Sequence[str]) -> TrainConfig:
    """The checked configuration of what is typed for `chord.train`, as other commands take it.

    Raises what composing raises, and `ConfigError`.
    """
    from omegaconf import flag_override

    from chord.trust.code import check_composed

    with reading_conf():
        cfg = hydra.compose("train", list(settings), return_hydra_config=True)
    check_composed(cfg, cfg.hydra)
    with flag_override(cfg, ["struct", "readonly"], False):
        del cfg["hydra"]
    return parse(cfg, TrainConfig)


def base_class(group: str) -> type:
    """What every option of a group inherits from."""
    base = get_type_hints(TrainConfig)[group]
    assert isinstance(base, type)
    return base


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
        from chord.checks import check

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


def _parts(cfg: DictConfig) -> dict[str, str]:
    """The parts of a weighted reward: each holds an option of its group."""
    parts = OmegaConf.select(cfg, "reward.parts") or {}
    return {f"reward.parts.{name}": "reward" for name in parts}


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
            raise ConfigError(f"{full}={value}: no such setting{suggest(str(key), known)}")
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


def suggest(name: str, allowed: Iterable[str]) -> str:
    """'; did you mean ...? (all names)' for an error line."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (allowed: {', '.join(names)})"


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
