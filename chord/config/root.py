"""From a Hydra configuration to checked objects: what a run is configured by, and `parse`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

from chord.config.lineage import Lineage
from chord.config.optimizer import AdamW
from chord.config.trainer import TrainerConfig
from chord.data.base import DataConfig
from chord.errors import ConfigError, check_choice
from chord.evaluation.settings import Evaluation, check_metric
from chord.losses import Objective
from chord.losses.advantages import Advantage
from chord.losses.targets import Target
from chord.models.base import ModelConfig, Teacher
from chord.rewards import Grader
from chord.rollout import RolloutConfig
from chord.schedules import Schedule
from chord.schedules.gates import Gate
from chord.schedules.mixes import Mix
from chord.tracking import Tracking
from chord.weightings import Weighting

# numpy's seeds end here, and the last one is kept for evaluations.
MAX_SEED = 2**32 - 1
OF_THE_SWEEP = ("resume_sweep", "skip_finished")
"""Settings that say what is to be done with a sweep, and are no part of its jobs."""


def check_threads(threads: int) -> None:
    """Refuse more threads than there are processors: torch would crash, or crawl."""
    most = os.cpu_count() or 1
    if not 1 <= threads <= most:
        raise ConfigError(f"threads={threads}: must be within [1, {most}] on this machine")


@dataclass(kw_only=True)
class TrainConfig:
    """Everything `chord.train` reads. `steps` counts train steps, which schedules see.

    `fork`: a run whose settings are the base of these, and whose `checkpoint` has the weights, and
    the optimizer's state unless `fresh_optimizer`; `lineage` is looked up there.
    `allow_changed`: settings whose files may have changed since the run that is resumed began.
    `dry_run`: show what a run would train on, and end.
    `resume_sweep`, `skip_finished` and `sweep_metric` are of a sweep as a whole. `trust`: import
    the code that files and runs from elsewhere name; it holds for a command, no run keeps it.
    """

    steps: int
    seed: int
    threads: int
    resume: str | None
    fork: str | None = None
    checkpoint: str | None = None
    fresh_optimizer: bool = False
    lineage: Lineage | None = None
    allow_changed: list[str] = field(default_factory=list)
    trust: bool = False
    dry_run: bool = False
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
            raise ConfigError(f"seed={self.seed}: must be within [0, {MAX_SEED - 1}]")
        check_threads(self.threads)
        check_metric(self.sweep_metric)


@dataclass(kw_only=True)
class EvaluateConfig:
    """Everything `chord.evaluate` reads; the rest comes from the run directory."""

    run: str | None
    checkpoint: str | None = None
    problems: str | None = None
    samples: int = 4
    temperature: float = 1.0
    to: str | None = None
    trust: bool = False
    split: str
    threads: int | None
    evaluation: Evaluation
    model: ModelConfig | None = None
    data: DataConfig | None = None
    reward: Grader | None = None
    trainer: TrainerConfig | None = None

    def __post_init__(self) -> None:
        check_choice("split", self.split, ("val", "test"))
        if self.problems is not None and self.split == "val":
            raise ConfigError(
                f"problems={self.problems}: takes the place of the test split; leave out split=val"
            )
        if self.samples < 1:
            raise ConfigError(f"samples={self.samples}: must be at least 1")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature}: must be a number above 0; the accuracies are "
                "greedy at any temperature"
            )
        if self.threads is not None:
            check_threads(self.threads)


ROOTS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig}
