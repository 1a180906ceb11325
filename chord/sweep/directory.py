"""What a sweep keeps on disk, and which of its jobs are finished already.

`sweep.json` in the sweep's directory says when it was written and lists the jobs: number,
directory, what was typed, what tells it from the others, fingerprint. How each went is in its own
run directory.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chord.config.overrides import given, setting
from chord.errors import ConfigError
from chord.io.contents import changed
from chord.io.printing import say
from chord.io.reading import read_json, refuse_links
from chord.io.writing import write_atomically
from chord.run.files import FINISHED, STATUS, read_status
from chord.run.identity.contents import contents, refuse_changed
from chord.run.identity.versions import equal_versions, versions
from chord.run.lock import writer
from chord.run.places import holds_run, refuse_within_a_run
from chord.sweep.points import Point
from chord.tracking.base import shown

SWEEP = "sweep.json"
OUTPUTS = Path("outputs")


def holds_sweep(path: Path) -> bool:
    """Whether a directory is a sweep's."""
    return (path / SWEEP).is_file()


def read_sweep(path: Path) -> dict[str, Any]:
    """A sweep's `sweep.json`; empty where there is none. `ConfigError` for one that is damaged."""
    if not holds_sweep(path):
        return {}
    try:
        facts = read_json(path / SWEEP)
        texts = [*facts.get("command", ())]
        for job in facts["jobs"]:
            texts += [job["directory"], job["fingerprint"], *job.get("overrides", ())]
            texts += [*job["varied"], *job["varied"].values()]
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(job["job"], int) for job in facts["jobs"]
        ):
            raise TypeError("a job's number or a text is of another kind")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"resume_sweep={path}: {SWEEP} can't be read ({error})") from error
    return facts


def in_its_directory(arguments: Sequence[str]) -> list[str]:
    """The arguments with what `resume_sweep=DIR` means to Hydra.

    Raises `ConfigError` where that is no sweep's directory.
    """
    found = given(arguments)
    path = found.get("resume_sweep", "null")
    if path == "null":
        return list(arguments)
    if "hydra.sweep.dir" in found:
        raise ConfigError(
            f"hydra.sweep.dir={found['hydra.sweep.dir']}: a sweep goes on in its own directory"
        )
    if not holds_sweep(Path(path)):
        raise ConfigError(f"resume_sweep={path}: is not a sweep's directory (it holds no {SWEEP})")
    for job in sorted(Path(path).iterdir()):
        if job.is_dir() and not job.is_symlink():
            refuse_links(job, f"resume_sweep={path}: {job.name}")
    at = next(n for n, word in enumerate(arguments) if "resume_sweep" in given([word]))
    # Beside it: settings have to stand together.
    return [*arguments[:at], setting("hydra.sweep.dir", Path(path)), *arguments[at:]]


def write_sweep(path: Path, command: Sequence[str], metric: str, points: Sequence[Point]) -> None:
    """Write `sweep.json`: when a sweep starts, goes on, or has new jobs."""
    jobs = [{"job": point.number, **vars(point)} for point in points]
    for job in jobs:
        del job["number"], job["threads"], job["config"], job["schemas"]
    written = datetime.now(UTC).isoformat()
    facts = {"written": written, "command": list(command), "metric": metric, "jobs": jobs}
    write_atomically(path / SWEEP, json.dumps(facts, indent=2).encode() + b"\n")


def refuse_another(path: Path, points: Sequence[Point]) -> None:
    """Raise `ConfigError` unless `points` are the jobs of the sweep in `path`."""
    facts = read_sweep(path)
    known = {job["job"]: job for job in facts["jobs"]}
    tell = f"resume_sweep={path}: is of another command;"
    command = f"python -m chord.train -m {shlex.join(facts.get('command', []))}"
    if len(known) != len(points):
        raise ConfigError(f"{tell} it has {len(known)} jobs, this one {len(points)}: {command}")
    for point in points:
        job = known.get(point.number)
        if job is None or job["fingerprint"] != point.fingerprint:
            theirs = " ".join(job.get("overrides", ())) if job else "missing"
            ours = " ".join(point.overrides)
            if theirs == ours:
                references = [word for word in point.overrides if "${" in word]
                what = " or ".join(
                    ["the defaults", *(f"the value of {each}" for each in references)]
                )
                raise ConfigError(
                    f"resume_sweep={path}: job {point.number} has other settings than then, since "
                    f"{what} changed; start a new sweep"
                )
            raise ConfigError(f"{tell} its job {point.number} is {theirs}, not {ours}: {command}")


def refuse_at_work(path: Path) -> None:
    """Raise `ConfigError` where a job of the sweep in `path` still goes on, without the sweep."""
    for job in read_sweep(path).get("jobs", []):
        directory = path / job["directory"]
        if not is_finished(directory, job["fingerprint"]) and (who := writer(directory)):
            raise ConfigError(
                f"resume_sweep={path}: job {job['job']} is still being written by {who}; wait "
                "until it has ended, or end it"
            )


def is_finished(path: Path, fingerprint: str) -> bool:
    """Whether the run of this fingerprint is the one in a directory, and went to its end."""
    facts = read_status(path) if holds_run(path) else {}
    return facts.get("status") == FINISHED and facts.get("fingerprint") == fingerprint


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
        f"hydra.sweep.subdir={subdir}: jobs {jobs} would share the directory {place}; name all "
        "settings that vary, or use ${hydra.job.num}"
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
            refuse_within_a_run(path, f"hydra.sweep.dir={sweep}: {point.directory}")
        elif known != point.fingerprint:
            raise ConfigError(
                f"hydra.sweep.dir={sweep}: {point.directory} holds a run of another configuration "
                f"than job {point.number}; give another directory, or move that run away"
            )
        if known is not None and point.config is not None:
            now = contents(point.config, point.schemas)
            allowed = point.config.allow_changed
            refuse_changed(known_contents(path), now, allowed, since=f"the run in {path} began")


def known_contents(path: Path) -> dict[str, Any]:
    """What the files of a run held, as it has it on record; empty for a run of old."""
    try:
        found = read_json(path / "run.json").get("contents", {})
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def equal_run(point: Point, runs: Sequence[Path]) -> Path | None:
    """The first of some runs of a job's fingerprint that read the files which the job would read.

    One that has no hashes of them on record counts, with a warning.
    """
    if not runs or point.config is None:
        return None
    now = contents(point.config, point.schemas)
    for path in runs:
        known = known_contents(path)
        # Of what can't be found it is not known whether it is what it was.
        if changed(known, now) or known.keys() - now.keys():
            continue
        if missing := now.keys() - known.keys():
            say(
                f"warning: {name_of(path)} counts as equal to job {point.number}, but "
                f"has no hashes of {', '.join(sorted(missing))}: whether these differ is not known",
                file=sys.stderr,
            )
        return path
    return None


def finished_runs(root: Path = OUTPUTS) -> dict[str, list[Path]]:
    """The finished runs under `root` by fingerprint, those of these very package versions.

    And of one course: what a run read after its files were changed in mid-run is no other's.
    """
    found: dict[str, list[Path]] = {}
    here = versions()
    for file in sorted(root.rglob(STATUS)):
        facts = read_status(file.parent)
        if facts.get("status") != FINISHED or file.parent.is_symlink():
            continue
        try:
            run = read_json(file.parent / "run.json")
            theirs, changes = run["versions"], run.get("changes")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if equal_versions(theirs, here) and not changes:
            found.setdefault(str(facts.get("fingerprint")), []).append(file.parent)
    return found


def take_over(path: Path, finished: Path) -> None:
    """Let a job's directory be that of an equal run: a link, so that whoever reads the sweep
    finds its numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(finished.resolve(), path.parent.resolve()))


def name_of(path: Path) -> str:
    """A run directory as one would type it here."""
    return shown(path.resolve())
