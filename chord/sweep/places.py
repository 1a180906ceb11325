"""Where jobs may write: each in its own directory, through no link, over no other run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from chord.errors import ConfigError
from chord.io.reading import leads_nowhere, refuse_links
from chord.run.files import read_status
from chord.run.foreign import refuse_foreign
from chord.run.identity.contents import contents, refuse_changed
from chord.run.places import holds_run, refuse_within_a_run
from chord.sweep.equal_runs import is_finished, known_contents
from chord.sweep.points import Point


def refuse_linked(sweep: Path, setting: str) -> None:
    """Raise `ConfigError` where a sweep would write through a symbolic link in its own directory.

    Links to runs are jobs, which `refuse_linked_jobs` looks at.
    """
    runs = [entry.name for entry in sweep.iterdir() if entry.is_symlink() and holds_run(entry)]
    jobs = [name for name in runs if name != "wandb" and not name.startswith(".")]
    refuse_links(sweep, f"{setting}={sweep}", besides=jobs)


def refuse_linked_jobs(sweep: Path, points: Sequence[Point], setting: str) -> None:
    """Raise `ConfigError` where a job would write through a symbolic link.

    A job that is one itself is an equal run that has finished elsewhere, or else it is refused.
    """
    named = f"{setting}={sweep}"
    for point in points:
        place = Path(os.path.normpath(point.directory))
        if linked := [above for above in place.parents if (sweep / above).is_symlink()]:
            refuse_linked(sweep / linked[-1].parent, setting)
        if not (sweep / place).is_symlink():
            refuse_links(sweep / place, f"{named}: {place}")
        elif not (sweep / place).exists():
            raise ConfigError(
                f"{named}: {place} in it {leads_nowhere(sweep / place)} (job {point.number} is "
                "then run here)"
            )
        elif not is_finished(sweep / place, point.fingerprint):
            raise ConfigError(
                f"{named}: {place} in it is a symbolic link, but not to a finished run that is "
                f"equal to job {point.number}; remove the link"
            )


def refuse_shared(points: Sequence[Point], subdir: str) -> None:
    """Raise `ConfigError` where a job would run in the directory of another, or inside it."""
    taken: dict[str, Point] = {}
    for point in points:
        place = os.path.normpath(point.directory)
        if place.startswith((os.pardir, os.sep)) or place == os.curdir:
            raise ConfigError(
                f"hydra.sweep.subdir={subdir}: job {point.number} would be outside the "
                f"sweep's directory, in {point.directory}; use ${{hydra.job.num}}"
            )
        other = taken.setdefault(place, point)
        if other is not point:
            raise ConfigError(_share(subdir, other, point, place))
    for place, point in taken.items():
        for above in Path(place).parents:
            if str(above) in taken:
                raise ConfigError(_share(subdir, taken[str(above)], point, str(above)))


def _share(subdir: str, one: Point, other: Point, place: str) -> str:
    jobs = " and ".join(
        f"{job.number} ({job.label})" if job.label else str(job.number) for job in (one, other)
    )
    return (
        f"hydra.sweep.subdir={subdir}: jobs {jobs} would share the directory {place}; name every "
        "setting that varies, or use ${hydra.job.num}"
    )


def refuse_strangers(sweep: Path, points: Sequence[Point]) -> None:
    """Raise `ConfigError` where a job's directory holds another run than the job's.

    Also where its files hold something else by now, and the job does not allow it.
    """
    refuse_linked_jobs(sweep, points, "hydra.sweep.dir")
    for point in points:
        path = sweep / point.directory
        known = read_status(path).get("fingerprint") if holds_run(path) else None
        if known is None:
            named = f"hydra.sweep.dir={sweep}: {point.directory}"
            refuse_within_a_run(path, named)
            refuse_foreign(path, f"{named}:")
        elif known != point.fingerprint:
            raise ConfigError(
                f"hydra.sweep.dir={sweep}: {point.directory} holds a run of another configuration "
                f"than job {point.number}'s; give another directory, or move that run elsewhere"
            )
        if known is not None and point.config is not None:
            now = contents(point.config, point.schemas)
            allowed = point.config.allow_changed
            refuse_changed(known_contents(path), now, allowed, since=f"the run in {path} began")
