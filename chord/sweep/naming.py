"""What a run is called: on the terminal, on record, and by its tracker."""

from __future__ import annotations

import os
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict, read_write

from chord.tracking.wandb import LONGEST_TAG

TAGGED = ("schedule", "weighting", "objective")


def run_name(choices: Any, seed: int) -> str:
    """What tells a run from another at a glance: preset, options, seed."""
    preset = choices.get("experiment")
    parts = [preset] if preset else []
    return "-".join([*parts, choices["schedule"], choices["weighting"], f"seed{seed}"])


def chosen(choices: Any) -> dict[str, str]:
    """The option of each group of ours in which there is one."""
    ours = {name: option for name, option in choices.items() if not name.startswith("hydra")}
    return {name: str(option) for name, option in ours.items() if option not in (None, "null")}


def name_in_tracking(cfg: DictConfig, sweep: str | None = None) -> None:
    """Group W&B's runs by sweep and tag all runs, where neither the user nor the environment, which
    W&B reads by itself, has said how."""
    if "group" not in cfg.tracking:
        return
    choices = HydraConfig.get().runtime.choices
    with read_write(cfg), open_dict(cfg.tracking):
        if cfg.tracking.group is None and not os.environ.get("WANDB_RUN_GROUP"):
            cfg.tracking.group = sweep
        if not cfg.tracking.tags and not os.environ.get("WANDB_TAGS"):
            tags = [f"{name}={choices[name]}" for name in TAGGED]
            cfg.tracking.tags = [tag[:LONGEST_TAG] for tag in [*tags, f"seed={cfg.seed}"]]
