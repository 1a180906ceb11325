"""`hydra/sweeper=chord`, the default: a grid of the values that were typed, or a search."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from chord import overrides
from chord.config import ConfigError
from chord.directory.claim import is_fresh
from chord.directory.lock import claim_new, held
from chord.exits import say
from chord.sweep.beforehand import check_beforehand
from chord.sweep.directory import (
    equal_run,
    finished_runs,
    holds_sweep,
    name_of,
    refuse_another,
    refuse_at_work,
    refuse_linked,
    refuse_linked_jobs,
    refuse_shared,
    refuse_strangers,
    take_over,
    write_sweep,
)
from chord.sweep.jobs import Jobs
from chord.sweep.launchers import launcher_name
from chord.sweep.points import Point, check_points, grid, own_settings
from chord.sweep.space import SearchConfig

MANY = 50
"""So many jobs take some seconds to check."""


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
            from chord.sweep.search import search

            search(jobs, own, self.search)
        else:
            run_grid(jobs, own)


def run_grid(jobs: Jobs, own: Mapping[str, str]) -> None:
    """Every combination of the values that were typed."""
    combinations = grid(jobs.typed, jobs.loader)
    if len(combinations) > MANY:
        say(f"checking {len(combinations)} jobs", file=sys.stderr)
    points = check_points(combinations, jobs.config, jobs.loader)
    refuse_shared(points, jobs.subdir)
    if resuming(own):
        refuse_another(jobs.directory, points)
    if not is_fresh(jobs.config, "sweep"):
        refuse_strangers(jobs.directory, points)
    open_points = [point for point in points if not jobs.is_finished(point)]
    check_beforehand(open_points, launcher_name(jobs.config))
    with its_directory(jobs, own, points):
        OmegaConf.save(jobs.config, jobs.directory / "multirun.yaml")
        write_sweep(jobs.directory, jobs.typed, jobs.config.sweep_metric, points)
        jobs.points = points
        jobs.notes = finished(jobs, points, skip=skipping(own))
        with jobs.shown():
            jobs.run([point for point in points if point.number not in jobs.notes])


def resuming(own: Mapping[str, str]) -> bool:
    """Whether a sweep goes on that is there."""
    return own.get("resume_sweep", "null") != "null"


def skipping(own: Mapping[str, str]) -> bool:
    """Whether finished runs elsewhere count."""
    return own.get("skip_finished", "").lower() == "true"


@contextmanager
def its_directory(
    jobs: Jobs, own: Mapping[str, str], points: Sequence[Point] = ()
) -> Iterator[None]:
    """Within, the sweep has a directory, into which no other sweep writes.

    Raises `ConfigError` where another sweep is in it, or at it, or a link where it would write:
    also in a directory of `points`, as far as they are known. And where a job of a sweep that was
    killed still goes on.
    """
    setting = "resume_sweep" if resuming(own) else "hydra.sweep.dir"
    if is_fresh(jobs.config, "sweep"):
        jobs.move(claim_new(jobs.directory, setting))
    with held(jobs.directory, setting):
        if not resuming(own):
            # It may have come and gone in between.
            refuse_a_second_sweep(jobs.directory)
        refuse_linked(jobs.directory, setting)
        refuse_linked_jobs(jobs.directory, points, setting)
        if resuming(own):
            refuse_at_work(jobs.directory)
        yield


def refuse_a_second_sweep(path: Path) -> None:
    """Raise `ConfigError` where a new sweep would be written over another."""
    if holds_sweep(path):
        raise ConfigError(
            f"hydra.sweep.dir={path}: already holds a sweep; "
            f"{overrides.typed('resume_sweep', path)} goes on with it"
        )


def finished(jobs: Jobs, points: Sequence[Point], *, skip: bool) -> dict[int, str]:
    """Which jobs are finished already, by number, and where.

    With `skip` a job counts as finished where an equal run is; its directory is then a link.
    """
    notes = {}
    earlier = finished_runs() if skip else {}
    for point in points:
        path = jobs.path(point)
        if jobs.is_finished(point):
            notes[point.number] = "finished before"
        elif not path.exists() and (equal := equal_run(point, earlier.get(point.fingerprint, []))):
            take_over(path, equal)
            notes[point.number] = f"not run: equal to {name_of(equal)}"
    return notes
