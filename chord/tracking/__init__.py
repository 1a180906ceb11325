"""Where the numbers go besides the run directory: `tracking=wandb`, `csv` or `off`.

A tracker is a mirror of the run directory's JSON lines: it can be rebuilt from them, and after a
resume it is. W&B never asks for anything and never blocks a run: without a key or a network it
writes locally, says so, and says how to upload and how to look at the result without an account.
"""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chord.tracking.base import NoTracking, Tracker, Tracking
from chord.tracking.csv import CsvTracker, CsvTracking
from chord.tracking.wandb import WandbTracking, open_wandb

__all__ = [
    "CsvTracking",
    "NoTracking",
    "Tracker",
    "Tracking",
    "WandbTracking",
    "new_run_id",
    "open_tracker",
]


def open_tracker(
    tracking: Tracking,
    run_dir: Path,
    *,
    config: Mapping[str, Any],
    run_name: str,
    run_id: str | None = None,
    resume_rows: Iterable[Mapping[str, Any]] | None = None,
    save_dir: Path | None = None,
) -> Tracker:
    """The tracker that `tracking` asks for, with `resume_rows` (`Recorder.history()`) in it.

    A run that starts has no such rows, and one that starts again after a kill may have none.
    `run_id` is W&B's and must be the same when a run is resumed: see `new_run_id`. `save_dir` holds
    W&B's `wandb` directory: by default WANDB_DIR, else the sweep's directory for a job of a sweep,
    so that one local viewer shows all its runs, else the run directory. One process of a job calls
    this.
    Raises ConfigError where `tracking.mode=online` cannot be had.
    """
    if isinstance(tracking, WandbTracking):
        if save_dir is None:
            # Hydra writes this file into a sweep's directory before its first job starts.
            sweep = (run_dir.parent / "multirun.yaml").exists()
            save_dir = run_dir.parent if sweep else run_dir
            if os.environ.get("WANDB_DIR", "").strip():
                save_dir = Path(os.environ["WANDB_DIR"]).expanduser().absolute()
                save_dir.mkdir(parents=True, exist_ok=True)
        return open_wandb(
            tracking,
            save_dir,
            config=config,
            run_name=run_name,
            run_id=run_id or new_run_id(),
            rows=resume_rows or (),
        )
    tracker = CsvTracker(run_dir) if isinstance(tracking, CsvTracking) else Tracker()
    tracker.replay(resume_rows or ())
    return tracker


def by_agent() -> bool:
    """Whether `wandb agent` has started this process."""
    return "WANDB_SWEEP_ID" in os.environ


def new_run_id() -> str:
    """Eight letters and digits from the operating system, leaving every seeded generator alone.

    Under `wandb agent` it is the id that the agent has given to the run.
    """
    if by_agent() and os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"]
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
