"""`hydra/sweeper=grid`, the default: every combination of the values that were typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chord.config import ConfigError
from chord.sweep.directory import (
    finished_runs,
    held,
    holds_sweep,
    is_finished,
    name_of,
    refuse_another,
    take_over,
    write_sweep,
)
from chord.sweep.jobs import Jobs
from chord.sweep.points import Point, check_points, grid, own_settings


class Grid(Sweeper):
    """Checks all jobs, then runs those that are not finished."""

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

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
        loader = self.hydra_context.config_loader
        points = check_points(grid(typed, loader), self.config, loader)
        jobs = self.jobs(typed)
        make_directory(jobs.directory, own, points)
        with held(jobs.directory, "hydra.sweep.dir"):
            OmegaConf.save(self.config, jobs.directory / "multirun.yaml")
            write_sweep(jobs.directory, typed, self.config.sweep_metric, points)
            jobs.points = points
            jobs.notes = finished(jobs, skip=own.get("skip_finished", "").lower() == "true")
            with jobs.shown():
                jobs.run([point for point in points if point.number not in jobs.notes])

    def jobs(self, typed: Sequence[str]) -> Jobs:
        """The sweep in its directory, without jobs yet."""
        return Jobs(
            Path(self.config.hydra.sweep.dir),
            typed,
            config=self.config,
            context=self.hydra_context,
            task=self.task_function,
        )


def make_directory(path: Path, own: dict[str, str], points: Sequence[Point]) -> None:
    """Make a sweep's directory, or check that it is that of this command."""
    if own.get("resume_sweep", "null") != "null":
        refuse_another(path, points)
    elif holds_sweep(path):
        raise ConfigError(
            f"hydra.sweep.dir={path}: already holds a sweep; resume_sweep={path} goes on with it"
        )
    path.mkdir(parents=True, exist_ok=True)


def finished(jobs: Jobs, *, skip: bool) -> dict[int, str]:
    """Which jobs are finished already, by number, and where.

    With `skip` a job counts as finished where an equal run is; its directory is then a link.
    """
    notes = {}
    earlier = finished_runs() if skip else {}
    for point in jobs.points:
        path = jobs.path(point)
        if is_finished(path):
            notes[point.number] = "finished before"
        elif point.fingerprint in earlier and not path.exists():
            take_over(path, earlier[point.fingerprint])
            notes[point.number] = f"not run: equal to {name_of(earlier[point.fingerprint])}"
    return notes
