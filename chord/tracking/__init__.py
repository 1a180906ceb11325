"""Trackers, which get all numbers in addition to the run directory: `tracking=wandb`, `csv`, `off`.

A tracker mirrors the JSON lines of the run directory. It can be rebuilt from them, and is when a
run is resumed. W&B never prompts and never blocks a run: without a key or a network it writes
locally, and tells how to upload the run and how to view it without an account.
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
    """Open the configured tracker and replay `resume_rows` into it.

    Call this in one process of a job. Raises ConfigError if `tracking.mode=online` is impossible.

    Args:
        resume_rows: The rows of `Recorder.history()`. A new run has none, and a run that restarts
            after a kill may have none.
        run_id: W&B's id, which must be the same when a run is resumed; see `new_run_id`.
        save_dir: The parent of W&B's `wandb` directory. The default is WANDB_DIR; else, for a job
            of a sweep, the sweep's directory, so that a local viewer shows all of its runs; else
            the run directory.
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
    """Return whether `wandb agent` started this process."""
    return "WANDB_SWEEP_ID" in os.environ


def new_run_id() -> str:
    """Return eight random letters and digits, without touching any seeded generator.

    Under `wandb agent`, return the id that the agent assigned to the run.
    """
    if by_agent() and os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"]
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
