"""A grid: every combination of the values that were typed."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from omegaconf import OmegaConf

from chord.io.printing import say
from chord.run.claim import is_fresh
from chord.sweep.beforehand import check_beforehand
from chord.sweep.directory import refuse_another, refuse_shared, refuse_strangers, write_sweep
from chord.sweep.jobs import Jobs
from chord.sweep.launchers import launcher_name
from chord.sweep.opening import finished, its_directory, resuming, skipping
from chord.sweep.points import check_points, grid

MANY = 50
"""So many jobs take some seconds to check."""


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
