"""Configurations from levels, as Hydra would compose them, from pieces that it composed once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from conftest import SMALL, compose_config
from omegaconf import DictConfig, OmegaConf

from chord.registry import SCHEMAS
from pairs.factors import FACTORS, Row

BASE = (
    *SMALL,
    "steps=2",
    "rollout.problems=3",
    "rollout.group_size=4",
    "rollout.max_new_tokens=5",
    "rollout.prefix_until=3",
    "optimizer.lr=.03",
    "optimizer.warmup=1",
    "optimizer.clip_norm=.2",
    "optimizer.weight_decay=.01",
)
SECOND = ("sft_optimizer.lr=.02", "sft_optimizer.warmup=0", "sft_optimizer.clip_norm=.1")


def overrides(row: Row, models: Path, *, seed: int = 0) -> list[str]:
    """What a user would type, options before settings."""
    typed = [word for name, level in row.items() for word in FACTORS[name][level]]
    typed += SECOND if row["sft_optimizer"] != "none" else ()
    paths = [f"model.path={models}/base.safetensors"]
    if row["teacher"] != "none":
        paths.append(f"teacher.path={models}/teacher.safetensors")
    return [*BASE, f"seed={seed}", *paths, *typed]


def compose(row: Row, models: Path, *, seed: int = 0) -> DictConfig:
    """The composed configuration, of cached pieces: each level's options are composed once."""
    composed = piece().copy()
    levels = [FACTORS[name][level] for name, level in row.items()]
    if row["advantage"] == "own":
        # It follows the objective.
        levels.append((FACTORS["objective"][row["objective"]][0].replace("objective", "advantage"),))
    for level in levels:
        words = tuple(word for word in level if is_choice(word))
        if words:
            setting = words[0].partition("=")[0].partition("@")
            setting = setting[2] or setting[0]
            node = OmegaConf.select(piece(*words), setting)
            OmegaConf.update(composed, setting, node, merge=False)
    values = [word for word in overrides(row, models, seed=seed) if not is_choice(word)]
    found = OmegaConf.merge(composed, OmegaConf.from_dotlist(values))
    assert isinstance(found, DictConfig)
    return found


def is_choice(word: str) -> bool:
    """Whether an override chooses an option."""
    return word.partition("=")[0].partition("@")[0] in SCHEMAS


@cache
def piece(*words: str) -> DictConfig:
    return compose_config(*words)
