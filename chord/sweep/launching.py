"""Launching the jobs of a sweep, side by side: none is stopped by another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus

from chord.errors import ConfigError
from chord.io.printing import say
from chord.run.files import FAILED, STATUS, read_status
from chord.run.status import reason
from chord.sweep.devices import gpus_each, shared_gpus, tasks_each, told
from chord.sweep.jobs import Jobs
from chord.sweep.launchers import all_awaited, launcher_name, numbered, parts, prepared
from chord.sweep.points import Point


def launch(jobs: Jobs, points: Sequence[Point]) -> None:
    """Launch jobs; those that went without a word are tried once more, one at a time."""
    if not points:
        return
    threads = max(point.threads for point in points)
    gpus = shared_gpus(points, launcher_name(jobs.config))
    most = min(len(points), len(gpus) or len(points))
    slurm = launcher_name(jobs.config) == "SlurmLauncher"
    config, notes = prepared(
        jobs.config,
        jobs=most,
        threads=threads,
        gpus=gpus_each(points),
        tasks=tasks_each(points) if slurm else (1, 1),
    )
    for note in notes:
        say(f"warning: {note}", file=sys.stderr)
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=jobs.context, task_function=jobs.task, config=config
    )
    # Hydra 1.4 refuses jobs whose launcher has other settings than the sweep's.
    launcher.setup(hydra_context=jobs.context, task_function=jobs.task, config=jobs.config)

    def attempt(points: Sequence[Point]) -> tuple[dict[int, int], dict[int, str], str]:
        before = {point.number: _written(jobs, point) for point in points}
        errors: dict[int, str] = {}
        death = "its process died"
        try:
            for part in parts(jobs.config, points, most=most, threads=threads):
                with all_awaited(jobs.config), told(gpus):
                    errors |= refusals(part, launcher.launch(*numbered(part)))
        except Exception as error:  # whatever a launcher's dead process happens to cause
            death = f"its process died ({reason(error)})"
        return before, errors, death

    before, _, _ = attempt(points)
    for point in [p for p in points if _silent(jobs, p, before[p.number])]:
        since, errors, death = attempt([point])
        _record_death(jobs, point, since[point.number], errors.get(point.number), death)


def _written(jobs: Jobs, point: Point) -> int:
    """When a job's status was written last."""
    with suppress(OSError):
        return (jobs.path(point) / STATUS).stat().st_mtime_ns
    return 0


def _silent(jobs: Jobs, point: Point, before: int) -> bool:
    """Whether a job has not said how it ended."""
    unchanged = _written(jobs, point) == before or not jobs.has_ended(point)
    return unchanged and not jobs.is_finished(point)


def _record_death(jobs: Jobs, point: Point, before: int, error: str | None, death: str) -> None:
    """Of a job that is silent `before` and after: its `error`, or a process that was killed.

    Where another process had the directory, which may have finished the job by now, the status
    is that process's.
    """
    error = error or str(read_status(jobs.path(point)).get("error") or death)
    with suppress(ConfigError):  # it lives, and somebody else's word was wrong
        jobs.record(point, FAILED, error, unless=lambda each: not _silent(jobs, each, before))
    if not jobs.is_finished(point):
        jobs.notes[point.number] = error


def refusals(points: Sequence[Point], returned: Sequence[Any]) -> dict[int, str]:
    """Why jobs failed, by number, as far as a launcher tells."""
    return {
        point.number: reason(each._return_value)
        for point, each in zip(points, returned, strict=False)
        if isinstance(each, JobReturn) and each.status == JobStatus.FAILED
    }
