"""Finds the run directories to compare."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chord.compare.model import LeftOut
from chord.errors import ConfigError
from chord.io.reading import leads_nowhere, read_json

# A directory with any of these is a run directory, however early the run was stopped.
MARKS = ("run.json", "status.json", "config.yaml", "metrics.jsonl")
# A sweep directory has Hydra's record of the sweep or the suffix that chord gives it.
SWEEP_FILE, SWEEP_SUFFIX = "multirun.yaml", "_sweep"
SWEEP_JOBS = "sweep.json"
_NEVER = ("wandb", "checkpoints", "comparison", "csv")


@dataclass(frozen=True)
class FoundRuns:
    """Run directories sorted by name, with a title and their common parent directory.

    `missing`: planned jobs of a sweep that have no directory.
    """

    title: str
    root: Path
    runs: Sequence[Path]
    missing: Sequence[LeftOut] = ()


def find_runs(paths: Sequence[Path], outputs: Path = Path("outputs")) -> FoundRuns:
    """Find all runs at or under `paths`; by default, those of the newest sweep under `outputs`.

    If there is no sweep, the default is the directory that holds the newest run. Raises ConfigError
    if a path does not exist or holds no run.
    """
    if not paths:
        paths = [_newest(outputs)]
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path}: is not a directory")
        own = _under(path)
        if not own:
            raise ConfigError(_without_runs(path))
        found |= dict.fromkeys(own)
    resolved = [path.resolve() for path in paths]
    title = ", ".join(path.name for path in resolved[:3]) + (", ..." if resolved[3:] else "")
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath(resolved))
    unique = {path.resolve(): path for path in reversed(found)}
    runs = [path for path in found if unique[path.resolve()] == path]
    return FoundRuns(title, root, runs, [each for path in paths for each in _never_started(path)])


def is_sweep(path: Path) -> bool:
    """Return whether a directory belongs to a multirun."""
    return path.name.endswith(SWEEP_SUFFIX) or (path / SWEEP_FILE).is_file()


def is_run(path: Path) -> bool:
    """Return whether a directory belongs to a run, even to one that stopped at once."""
    return any((path / mark).is_file() for mark in MARKS)


def _without_runs(path: Path) -> str:
    """Why there is nothing to compare at or below a path, in a sentence."""
    if not (is_sweep(path) or (path / SWEEP_JOBS).is_file()):
        return f"{path}: contains no run (a run directory has a run.json)"
    gone = _never_started(path)
    first = f" (the first of {len(gone)}: {gone[0].what}: {gone[0].reason})" if gone else ""
    return (
        f"{path}: is the directory of a sweep, but contains none of its runs{first}; put them back "
        "into it, or give the directories in which they are now"
    )


def _never_started(sweep: Path) -> list[LeftOut]:
    """Jobs that `sweep.json` lists but that have no directory; empty without a `sweep.json`."""
    try:
        jobs = read_json(sweep / SWEEP_JOBS)["jobs"]
        planned = [(str(job["directory"]), " ".join(map(str, job["overrides"]))) for job in jobs]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        LeftOut(what=f"{sweep / directory} ({overrides})", reason=_why_missing(sweep / directory))
        for directory, overrides in planned
        if not (sweep / directory).is_dir()
    ]


def _why_missing(job: Path) -> str:
    return leads_nowhere(job) if job.is_symlink() else "never started, or was moved away"


def _under(path: Path) -> list[Path]:
    """Run directories at or below a path; jobs 0, 1, ..., 10 are in numerical order.

    Links to runs are followed: a sweep links a job to an earlier run that it would repeat.
    """
    found = []
    for place, folders, _ in os.walk(path, followlinks=True):
        # A job that failed before its run began has only the configuration that Hydra wrote.
        is_job = ".hydra" in folders and is_sweep(Path(place).parent)
        folders[:] = sorted(
            (
                name
                for name in folders
                if not name.startswith(".")
                and name not in _NEVER
                and (is_run(Path(place, name)) or not Path(place, name).is_symlink())
            ),
            key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name),
        )
        if is_job or is_run(Path(place)):
            found.append(Path(place))
            folders.clear()
    return found


def _newest(outputs: Path) -> Path:
    if not outputs.is_dir():
        raise ConfigError(f"{outputs}/: no such directory here; pass a sweep or run directories")
    runs = _under(outputs)
    if not runs:
        raise ConfigError(f"{outputs}/: contains no run; train first, or pass directories")
    sweeps = {run.parent for run in runs if is_sweep(run.parent)}
    if sweeps:
        return max(sweeps, key=lambda sweep: (_sweep_time(sweep), sweep))
    return max(runs, key=lambda run: (_time(run), run)).parent


def _sweep_time(sweep: Path) -> float:
    """When the sweep was started or resumed, in seconds; its jobs may link to much older runs.

    Older sweeps do not record it. For them it is the time of their file or of their newest run.
    """
    file = sweep / SWEEP_JOBS
    try:
        return datetime.fromisoformat(read_json(file)["written"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        if file.is_file():
            return file.stat().st_mtime
        return max(_time(run) for run in _under(sweep))


def _time(run: Path) -> float:
    marks = [run / mark for mark in MARKS if (run / mark).is_file()]
    return min(mark.stat().st_mtime for mark in marks or [run])
