"""How a sweep begins: alone in its directory, and without the jobs that are finished already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chord.config import overrides
from chord.errors import ConfigError
from chord.run.claim import is_fresh
from chord.run.lock import claim, claim_new, held
from chord.run.neighbours import refuse_neighbours
from chord.run.opening import refuse_edited
from chord.run.owner import refuse_used
from chord.run.places import holds_run, refuse_within_a_run
from chord.sweep.directory import holds_sweep, refuse_at_work
from chord.sweep.equal_runs import equal_run, finished_runs, name_of, take_over
from chord.sweep.jobs import Jobs
from chord.sweep.places import refuse_linked, refuse_linked_jobs
from chord.sweep.points import Point


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

    Raises `ConfigError` where a run or another sweep is in it, or at it, or it lies within a run's
    directory, or there is a link where it would write:
    also in a directory of `points`, as far as they are known. And where a job of a sweep that was
    killed still goes on.
    """
    setting = "resume_sweep" if resuming(own) else "hydra.sweep.dir"
    refuse_within_a_run(jobs.directory, f"{setting}={jobs.directory}:")
    if is_fresh(jobs.config, "sweep"):
        jobs.move(claim_new(jobs.directory, setting, _refuse_others))
    elif not resuming(own):
        claim(jobs.directory, setting, check=_refuse_others)
    with held(jobs.directory, setting):
        refuse_linked(jobs.directory, setting)
        refuse_linked_jobs(jobs.directory, points, setting)
        if resuming(own):
            refuse_at_work(jobs.directory)
        yield


def refuse_taken(jobs: Jobs) -> None:
    """Raise `ConfigError` where a new sweep's directory is another's, or a run's: before the jobs
    are looked at, and the directory is claimed."""
    if not is_fresh(jobs.config, "sweep"):
        refuse_used(jobs.directory, "hydra.sweep.dir")
        refuse_a_second_sweep(jobs.directory)


def _refuse_others(path: Path) -> None:
    named = f"hydra.sweep.dir={path}:"
    refuse_neighbours(path, named)
    refuse_within_a_run(path, named)
    refuse_a_second_sweep(path)


def refuse_a_second_sweep(path: Path) -> None:
    """Raise `ConfigError` where a new sweep would be written over another, or over a run."""
    if holds_sweep(path):
        raise ConfigError(
            f"hydra.sweep.dir={path}: already holds a sweep; its own command continues it with "
            f"{overrides.typed('resume_sweep', path)} added"
        )
    if holds_run(path):
        raise ConfigError(f"hydra.sweep.dir={path}: is a run directory; give another directory")


def finished(jobs: Jobs, points: Sequence[Point], *, skip: bool) -> dict[int, str]:
    """Which jobs are finished already, by number, and where.

    With `skip` a job counts as finished where an equal run is; its directory is then a link.
    Raises `ConfigError` where the files of a finished run contradict each other.
    """
    notes = {}
    earlier = finished_runs() if skip else {}
    for point in points:
        path = jobs.path(point)
        if jobs.is_finished(point):
            refuse_edited(path, f"{jobs.directory}: {point.directory}", resolve=False)
            notes[point.number] = "already finished"
        elif not path.exists() and (equal := equal_run(point, earlier.get(point.fingerprint, []))):
            take_over(path, equal)
            notes[point.number] = f"not run: equal to {name_of(equal)}"
    return notes
