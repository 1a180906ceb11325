"""Configurations from levels, as Hydra would compose them, from pieces that it composed once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from conftest import SMALL, compose_config
from omegaconf import DictConfig, OmegaConf

from chord.config.consistency import check_training
from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.errors import config_errors
from pairs.factors import FACTORS, Row

BASE = (
    *SMALL,
    "steps=2",
    "rollout.problems=3",
    "rollout.group_size=4",
    "rollout.max_new_tokens=5",
    "optimizer.lr=.03",
    "optimizer.warmup=1",
    "optimizer.clip_norm=.2",
    "optimizer.weight_decay=.01",
)
OVER_THREE_STEPS = ("rollout.prefix_until=3",)
SECOND = ("sft_optimizer.lr=.02", "sft_optimizer.warmup=0", "sft_optimizer.clip_norm=.1")


def overrides(row: Row, models: Path, *, seed: int = 0) -> list[str]:
    """What a user would type, options before settings."""
    typed = [word for name, level in row.items() for word in FACTORS[name][level]]
    typed += SECOND if row["sft_optimizer"] != "none" else ()
    typed += OVER_THREE_STEPS if row["rollout"] in ("uft", "prefix_rft") else ()
    paths = [f"model.path={models}/base.safetensors"]
    if row["teacher"] != "none":
        paths.append(f"teacher.path={models}/teacher.safetensors")
    return [*BASE, f"seed={seed}", *paths, *typed]


def compose(row: Row, models: Path, *, seed: int = 0) -> DictConfig:
    """The composed configuration: what Hydra makes of the words, without its half second."""
    words = overrides(row, models, seed=seed)
    if row["advantage"] == "own":
        # The objective chooses it.
        objective = FACTORS["objective"][row["objective"]][0].removeprefix("objective=")
        words.append(f"advantage={advantage_of(objective)}")
    return composed_of(words)


def composed_of(words: Sequence[str]) -> DictConfig:
    """Options over the shrunk configuration, then settings."""
    composed = base().copy()
    for word in filter(is_choice, words):
        name, _, value = word.partition("=")
        group, _, at = name.partition("@")
        OmegaConf.update(composed, at or group, option(group, value), merge=False, force_add=True)
    for word in filter(is_new, words):
        name, _, value = word.removeprefix("+").partition("=")
        OmegaConf.update(composed, name, value, force_add=True)
    settings = [word for word in words if not is_choice(word) and not is_new(word)]
    values = OmegaConf.from_dotlist(settings)
    found = OmegaConf.merge(composed, values)
    assert isinstance(found, DictConfig)
    return found


def advantage_of(objective: str) -> str:
    """The advantage that an objective's file chooses, or the file that it starts from."""
    text = (CONF_DIR / "objective" / f"{objective}.yaml").read_text()
    if chosen := re.search(r"/advantage@_global_\.advantage: ([^,\]]+)", text):
        return chosen[1]
    inner = re.search(r"^defaults: \[([\w+]+),", text, re.M)
    return advantage_of(inner[1]) if inner else "grpo"


def is_choice(word: str) -> bool:
    """Whether an override chooses an option."""
    return word.partition("=")[0].partition("@")[0] in SCHEMAS


def is_new(word: str) -> bool:
    """Whether an override adds a key, here a text."""
    return word.startswith("+")


@cache
def base() -> DictConfig:
    return compose_config(*SMALL)


@cache
def option(group: str, name: str) -> DictConfig:
    """The values of an option over those of its schema, as its file says."""
    values = OmegaConf.load(CONF_DIR / group / f"{name}.yaml")
    assert isinstance(values, DictConfig)
    parts: list[Any] = []
    for entry in values.pop("defaults"):
        if entry == "_self_":
            parts.append(values)
        elif isinstance(entry, str) and entry.startswith("/schema/"):
            schema = entry.removeprefix(f"/schema/{group}/").removesuffix("@_here_")
            parts.append(OmegaConf.structured(SCHEMAS[group][schema]))
        elif isinstance(entry, str):
            parts.append(option(group, entry))
        elif group == "reward":
            # A weighted reward's parts: `/reward@parts.answer: numeric`.
            for at, part in entry.items():
                node = option(group, part)
                parts.append(OmegaConf.create({"parts": {at.rpartition(".")[2]: node}}))
    found = OmegaConf.merge(*parts)
    assert isinstance(found, DictConfig)
    return found


def checked(composed: DictConfig) -> TrainConfig:
    """The configuration, checked as a run checks it before anything is computed."""
    config = parse(composed, TrainConfig)
    with config_errors():
        check_training(config)
    return config
