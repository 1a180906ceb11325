"""What a sweep keeps on disk, and whether it is the sweep of a command.

`sweep.json` in the sweep's directory says when it was written and lists the jobs: number,
directory, what was typed, what tells it from the others, fingerprint. How each went is in its own
run directory.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chord.config.overrides import given, setting
from chord.errors import ConfigError
from chord.io.reading import read_json, refuse_links
from chord.io.writing import json_file, write_atomically
from chord.run.owner import writer
from chord.sweep.equal_runs import is_finished
from chord.sweep.points import Point

SWEEP = "sweep.json"


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
            raise TypeError("a job's number or a text has the wrong type")
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
            f"hydra.sweep.dir={found['hydra.sweep.dir']}: a resumed sweep stays in its own "
            "directory; leave this out"
        )
    if not holds_sweep(Path(path)):
        raise ConfigError(f"resume_sweep={path}: is not a sweep directory (it holds no {SWEEP})")
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
    write_atomically(path / SWEEP, json_file(facts))


def refuse_another(path: Path, points: Sequence[Point]) -> None:
    """Raise `ConfigError` unless `points` are the jobs of the sweep in `path`."""
    facts = read_sweep(path)
    known = {job["job"]: job for job in facts["jobs"]}
    tell = f"resume_sweep={path}: belongs to another command;"
    command = f"python -m chord.train -m {shlex.join(facts.get('command', []))}"
    if len(known) != len(points):
        raise ConfigError(f"{tell} it has {len(known)} jobs, not {len(points)}: {command}")
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
                    f"resume_sweep={path}: job {point.number} no longer has the same settings, "
                    f"because {what} changed; start a new sweep"
                )
            raise ConfigError(f"{tell} its job {point.number} is {theirs}, not {ours}: {command}")


def refuse_at_work(path: Path) -> None:
    """Raise `ConfigError` where a job of the sweep in `path` still goes on, without the sweep."""
    for job in read_sweep(path).get("jobs", []):
        directory = path / job["directory"]
        if not is_finished(directory, job["fingerprint"]) and (who := writer(directory)):
            raise ConfigError(
                f"resume_sweep={path}: job {job['job']} is still running in {who}; wait until it "
                "has ended, or end it"
            )
