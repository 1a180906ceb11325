"""`hydra/sweeper=chord`, the default: a grid of the values that were typed, or a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from chord.config.search import SearchConfig
from chord.sweep.grid import run_grid
from chord.sweep.jobs import Jobs
from chord.sweep.points import own_settings


class ChordSweeper(Sweeper):
    """Checks all jobs, then runs those that are not finished."""

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def __init__(self, **settings: Any) -> None:
        self.search = SearchConfig(**settings)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """What Hydra gives; the launcher is made once it is known how many jobs there are."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Check, run, show. Raises `ConfigError` before anything is written, or for failed jobs."""
        own, typed = own_settings(arguments)
        jobs = Jobs(
            Path(self.config.hydra.sweep.dir),
            typed,
            config=self.config,
            context=self.hydra_context,
            task=self.task_function,
        )
        if self.search.trials:
            # Grids do without it.
            from chord.sweep.search import search

            search(jobs, own, self.search)
        else:
            run_grid(jobs, own)
