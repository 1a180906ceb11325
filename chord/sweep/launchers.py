"""How jobs are launched: how many at a time, and what to install where a launcher is missing."""

from __future__ import annotations

import os

from omegaconf import DictConfig, open_dict, read_write

SERIAL = "BasicLauncher"
EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""The extra of this package that brings each launcher."""


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # elsewhere than on Linux


def launcher_name(config: DictConfig) -> str:
    """The class of the launcher that a command has chosen."""
    return str(config.hydra.launcher._target_).rpartition(".")[2]


def prepare(config: DictConfig, *, jobs: int, threads: int) -> list[str]:
    """Set what a launcher's defaults get wrong for jobs of so many threads; returns notes."""
    launcher = config.hydra.launcher
    if launcher_name(config) != "JoblibLauncher":
        return []
    at_a_time = max(1, min(cores() // threads, jobs))
    with read_write(config), open_dict(launcher):
        if launcher.n_jobs == -1:
            launcher.n_jobs = at_a_time
    if launcher.n_jobs * threads > cores():
        return [
            f"hydra.launcher.n_jobs={launcher.n_jobs}: with threads={threads} more than the "
            f"{cores()} cores of this machine; the jobs will slow each other down"
        ]
    return []
