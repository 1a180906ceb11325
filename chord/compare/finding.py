"""Which directories hold the runs that are to be compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chord.compare.model import LeftOut
from chord.errors import ConfigError
from chord.io.reading import read_json

# Any of these makes a directory a run's, however early that was stopped.
MARKS = ("run.json", "status.json", "config.yaml", "metrics.jsonl")
# A sweep's own directory: Hydra's record of it, or its name as chord chooses it.
SWEEP_FILE, SWEEP_SUFFIX = "multirun.yaml", "_sweep"
SWEEP_JOBS = "sweep.json"
_NEVER = ("wandb", "checkpoints", "comparison", "csv")


@dataclass(frozen=True)
class FoundRuns:
    """Run directories in the order of their names, with a title and the directory above them.

    `missing`: jobs of a sweep that were planned and have no directory.
    """

    title: str
    root: Path
    runs: Sequence[Path]
    missing: Sequence[LeftOut] = ()


def find_runs(paths: Sequence[Path], outputs: Path = Path("outputs")) -> FoundRuns:
    """Every run at or under `paths`; without any, those of the newest sweep under `outputs`.

    Where there is no sweep, it is the directory that holds the newest run. Raises ConfigError
    where a path does not exist or nothing holds a run.
    """
    if not paths:
        paths = [_newest(outputs)]
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path}: is not a directory")
        own = _under(path)
        if not own:
            raise ConfigError(f"{path}: holds no run (a run's directory has a run.json)")
        found |= dict.fromkeys(own)
    resolved = [path.resolve() for path in paths]
    title = ", ".join(path.name for path in resolved[:3]) + (", ..." if resolved[3:] else "")
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath(resolved))
    unique = {path.resolve(): path for path in reversed(found)}
    runs = [path for path in found if unique[path.resolve()] == path]
    return FoundRuns(title, root, runs, [each for path in paths for each in _never_started(path)])


def is_sweep(path: Path) -> bool:
    """Whether a directory is a multirun's."""
    return path.name.endswith(SWEEP_SUFFIX) or (path / SWEEP_FILE).is_file()


def is_run(path: Path) -> bool:
    """Whether a directory is a run's, or was going to be."""
    return any((path / mark).is_file() for mark in MARKS)


def _never_started(sweep: Path) -> list[LeftOut]:
    """Jobs that the sweep's `sweep.json` lists and that left nothing; none where it has no such."""
    try:
        jobs = read_json(sweep / SWEEP_JOBS)["jobs"]
        planned = [(str(job["directory"]), " ".join(map(str, job["overrides"]))) for job in jobs]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [
        LeftOut(what=f"{sweep / directory} ({overrides})", reason="never started")
        for directory, overrides in planned
        if not (sweep / directory).is_dir()
    ]


def _under(path: Path) -> list[Path]:
    """Run directories at or below a path; jobs 0, 1, ..., 10 in the order of their numbers.

    A link is followed where it leads to a run: a job that an earlier one stands for.
    """
    found = []
    for place, folders, _ in os.walk(path, followlinks=True):
        # A job that failed before it was a run has nothing but what Hydra composed for it.
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
        raise ConfigError(f"{outputs}/: no such directory here; name a sweep or run directories")
    runs = _under(outputs)
    if not runs:
        raise ConfigError(f"{outputs}/: holds no run; train some first, or name directories")
    sweeps = {run.parent for run in runs if is_sweep(run.parent)}
    if sweeps:
        return max(sweeps, key=lambda sweep: (_sweep_time(sweep), sweep))
    return max(runs, key=lambda run: (_time(run), run)).parent


def _sweep_time(sweep: Path) -> float:
    """When it was started or went on, in seconds; its jobs may be links to much older runs.

    Sweeps of old do not say when: it is the time of their file, or that of their newest run.
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
