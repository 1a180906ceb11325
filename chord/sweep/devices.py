"""GPUs for jobs: as many at a time as this machine has, and each process takes one of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chord.errors import ConfigError
from chord.sweep.launchers import LOCAL, SERIAL
from chord.sweep.points import Point

SHARED = "CHORD_SWEEP_GPUS"
"""Tells the processes of a sweep which GPUs they share, as CUDA_VISIBLE_DEVICES names them."""
PATIENCE = 60.0  # seconds; the process of an earlier job may be about to end


def gpus_each(points: Sequence[Point]) -> int:
    """How many GPUs a job asks for on each of its machines; 0 where it may do without."""
    trainers = [point.config.trainer for point in points if point.config is not None]
    return max((t.devices for t in trainers if t.accelerator == "gpu"), default=0)


def tasks_each(points: Sequence[Point]) -> tuple[int, int]:
    """How many processes each job has on a machine, and on how many machines.

    Raises `ConfigError` where the jobs differ, as a launcher asks for the same for all of them.
    """
    trainers = [point.config.trainer for point in points if point.config is not None]
    found = sorted({(trainer.devices, trainer.num_nodes) for trainer in trainers}) or [(1, 1)]
    if len(found) > 1:
        (one, _), (other, _), *_ = found
        raise ConfigError(
            f"hydra/launcher=submitit_slurm: jobs of {one} and of {other} processes on a machine "
            "can't be in one sweep; give trainer.devices and trainer.num_nodes one value each"
        )
    return found[0]


def shared_gpus(points: Sequence[Point], launcher: str) -> list[str]:
    """The GPUs that jobs side by side on this machine share; none where none computes on one."""
    trainers = [point.config.trainer for point in points if point.config is not None]
    if launcher not in LOCAL or launcher == SERIAL or all(t.accelerator == "cpu" for t in trainers):
        return []
    # Only jobs that ask for GPUs need torch here.
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    # Without the locks of `take_gpu` nobody knows which one is free.
    return names[: min(count, 1) if sys.platform == "win32" else count]


@contextmanager
def told(gpus: Sequence[str]) -> Iterator[None]:
    """Processes that are started within know what they share."""
    if not gpus:
        yield
        return
    os.environ[SHARED] = ",".join(gpus)
    try:
        yield
    finally:
        os.environ.pop(SHARED, None)  # a job that ran in this process has taken it


def take_gpu(sweep: Path) -> None:
    """Let this process see one GPU alone, which no other process of the sweep has, to its end.

    Nothing happens where none are shared. Raises `ConfigError` where none becomes free.
    """
    if SHARED not in os.environ:
        return
    names, end = os.environ[SHARED].split(","), time.monotonic() + PATIENCE
    while (name := next((name for name in names if _lock(sweep / f".gpu-{name}")), None)) is None:
        if time.monotonic() > end:
            raise ConfigError(f"trainer.accelerator: none of the GPUs {', '.join(names)} is free")
        time.sleep(0.2)
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    # The next job of this process has it already.
    del os.environ[SHARED]


def _lock(path: Path) -> bool:
    """Whether the file is this process's now; the system lets go of it when the process ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    if sys.platform != "win32":
        # Windows has none.
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
    return True
