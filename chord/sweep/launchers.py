"""How jobs are launched: how many at a time, and what to install where a launcher is missing."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from chord.sweep.points import Point

T = TypeVar("T")
SERIAL = "BasicLauncher"
LOCAL = (SERIAL, "JoblibLauncher", "LocalLauncher")
"""The launchers whose jobs run on this machine."""


CLUSTER = 8  # jobs that a search chooses together where there is room for all of them
WEEK = 7 * 24 * 60  # minutes; the launcher's own hour would end many a run


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # elsewhere than on Linux


def launcher_name(config: DictConfig) -> str:
    """The class of the launcher that a command has chosen."""
    return str(config.hydra.launcher._target_).rpartition(".")[2]


def at_a_time(config: DictConfig, *, jobs: int, threads: int) -> int:
    """How many of so many jobs run at the same time."""
    name = launcher_name(config)
    if name == SERIAL:
        return 1
    if name == "JoblibLauncher" and config.hydra.launcher.n_jobs > 0:
        return min(int(config.hydra.launcher.n_jobs), jobs)
    if name in ("JoblibLauncher", "LocalLauncher"):
        free = cores()
        if name == "JoblibLauncher":
            # As joblib counts: -1 is all cores, -2 leaves one to others.
            free = min(free, free + 1 + int(config.hydra.launcher.n_jobs))
        return max(1, min(free // threads, jobs))
    return min(jobs, CLUSTER)


def parts(config: DictConfig, points: Sequence[T], *, most: int, threads: int) -> list[Sequence[T]]:
    """Jobs that may be launched together: submitit starts all it is given at once."""
    size = len(points)
    if launcher_name(config) == "LocalLauncher":
        size = at_a_time(config, jobs=most, threads=threads)
    return [points[first : first + size] for first in range(0, len(points), size)]


@contextmanager
def all_awaited(config: DictConfig) -> Iterator[None]:
    """A job of submitit's that died is no reason to leave the others alone."""
    if launcher_name(config) not in ("LocalLauncher", "SlurmLauncher"):
        yield
        return
    # An optional package.
    from submitit import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    original = Job.results

    def results(self: Job[Any]) -> list[Any]:
        try:
            return list(original(self))
        except (FailedJobError, UncompletedJobError) as error:
            return [error]

    Job.results = results  # type: ignore[method-assign]
    try:
        yield
    finally:
        Job.results = original  # type: ignore[method-assign]


def prepared(
    config: DictConfig,
    *,
    jobs: int,
    threads: int,
    gpus: int = 0,
    tasks: tuple[int, int] = (1, 1),
) -> tuple[DictConfig, list[str]]:
    """A copy that sets what a launcher's defaults get wrong for jobs of so many threads, GPUs, and
    processes on so many machines; notes."""
    config = copy.deepcopy(config)
    launcher = config.hydra.launcher
    said = [name.partition("=")[0] for name in config.hydra.overrides.hydra]
    wanted: dict[str, object] = {}
    match launcher_name(config):
        case "JoblibLauncher":
            wanted = {"n_jobs": at_a_time(config, jobs=jobs, threads=threads)}
        case "LocalLauncher":
            wanted = {"timeout_min": WEEK}
        case "SlurmLauncher":
            wanted = {"cpus_per_task": threads, "max_num_timeout": 1000}
            wanted |= {"gpus_per_node": gpus} if gpus else {}
            wanted |= dict(zip(("tasks_per_node", "nodes"), tasks, strict=True))
        case "RayLauncher":
            wanted = {"ray.remote.num_cpus": threads}
            wanted |= {"ray.remote.num_gpus": gpus} if gpus else {}
    with read_write(launcher), open_dict(launcher):
        for name, value in wanted.items():
            # What is typed of `n_jobs` is in the number already.
            if name == "n_jobs" or f"hydra.launcher.{name}" not in said:
                OmegaConf.update(launcher, name, value, force_add=True)
    if launcher_name(config) == "JoblibLauncher" and launcher.n_jobs * threads > cores():
        return config, [
            f"hydra.launcher.n_jobs={launcher.n_jobs}: with threads={threads}, this needs more "
            f"than the {cores()} cores of this machine; the jobs will slow each other down"
        ]
    return config, []


def numbered(points: Sequence[Point]) -> tuple[list[list[str]], int]:
    """The overrides of jobs and the number of the first, as a launcher wants them.

    It counts on from the first; where the numbers don't, each job's directory is said.
    """
    first = points[0].number
    jobs = [list(point.overrides) for point in points]
    if [point.number for point in points] != list(range(first, first + len(points))):
        for point, overrides in zip(points, jobs, strict=True):
            overrides.append(f"hydra.sweep.subdir='{point.directory}'")
    return jobs, first
