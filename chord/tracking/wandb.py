"""`tracking=wandb`: Weights & Biases, online if possible and otherwise offline.

The package is imported only when a run is opened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chord.errors import ConfigError, check_choice, first_line
from chord.tracking.base import Tracker, Tracking, command, numbers, shown
from chord.tracking.upload import Upload, read_upload
from chord.tracking.wandb_access import (
    api_key,
    check_variables,
    end_service,
    import_wandb,
    offline_reason,
    open_session,
)

MODES = ("auto", "online", "offline")
INIT_SECONDS = 15.0  # limit for a server that accepts the connection and never answers
FINISH_SECONDS = 60.0  # limit for the rest of the upload; what is missing is still on disk
LONGEST_TAG = 64
PROJECT = "chord"


@dataclass(kw_only=True)
class WandbTracking(Tracking):
    """Weights & Biases.

    `mode`: auto (online if there are a key and a network, else offline), online (fail without
    them) or offline. WANDB_MODE=offline or disabled takes precedence. Other settings that are None
    or empty come from the environment: WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_NAME,
    WANDB_TAGS, WANDB_NOTES.
    """

    option = "wandb"

    project: str | None = None
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        check_choice("tracking.mode", self.mode, MODES)
        if self.project == "":
            raise ConfigError("tracking.project='': must not be empty")
        if self.project and (len(self.project) > 128 or set(self.project) & set("/\\#?%:")):
            raise ConfigError(
                f"tracking.project={self.project}: must have at most 128 characters, none of "
                "/ \\ # ? % :"
            )
        for tag in self.tags:
            if not 1 <= len(tag) <= LONGEST_TAG:
                raise ConfigError(
                    f"tracking.tags={tag}: must have from 1 to {LONGEST_TAG} characters"
                )

    def check_environment(self) -> None:
        """Raise ConfigError for W&B variables with values that W&B cannot use."""
        check_variables(import_wandb())


class WandbTracker(Tracker):
    """An open W&B run; `first` is the first step that it does not have yet.

    W&B works in its own process. If that dies, training continues without it: the run directory
    has every row.
    """

    def __init__(self, run: Any, *, reason: str, first: int) -> None:
        self._run = run
        self._run_dir = Path(run.settings.sync_dir)
        self._reason = reason  # why it is offline; empty if online
        self._first = first
        self._steps = 0  # how many rows this process has logged
        self._last = -1
        self._upload: Upload | None = None
        self._trouble = ""

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        # A resumed online run may already have steps after the checkpoint; these are repeated.
        if step >= self._first:
            self._steps += step > self._last
            self._last = step
            self._try(lambda: self._run.log(numbers(row), step=step))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda: self._run.summary.update(numbers(values)))

    def finish(self, exit_code: int = 0) -> None:
        self._try(lambda: self._run.finish(exit_code=exit_code))
        if not self._reason:
            self._upload = read_upload(self._run_dir / "logs" / "debug-internal.log")

    def messages(self) -> list[str]:
        wandb = command("wandb")
        where = f"offline ({self._reason})" if self._reason else str(self._run.url)
        look = f"view it here, without an account: {wandb} leet {shown(self._run_dir.parent)}"
        lines = [f"W&B: {where}", look]
        lacks = self._lacks()
        if self._reason:
            lines.append(f"upload it ({wandb} login first): {wandb} sync {shown(self._run_dir)}")
        elif lacks or self._trouble:
            lines.append(f"upload the rest: {wandb} sync --include-online {shown(self._run_dir)}")
        if lacks:
            lines.append(lacks)
        if self._trouble:
            lines.append(f"W&B stopped before the end: {self._trouble}")
        return lines

    def _lacks(self) -> str:
        """A warning on how much of the run the server lacks, and why; empty if it has all."""
        upload, rows = self._upload, self._first + self._steps
        if upload is None:
            return ""
        have = self._first if upload.rows is None else upload.rows
        if have >= rows:
            return ""
        why = upload.error or "the upload was not finished"
        return (
            f"warning: W&B has {have} of {rows} rows ({why}); the rest is in {shown(self._run_dir)}"
        )

    def _try(self, action: Callable[[], None]) -> None:
        if self._trouble:
            return
        try:
            action()
        # Any exception: the client passes on whatever its dead or slow process causes.
        except Exception as error:
            self._trouble = f"{type(error).__name__} {error}".strip().splitlines()[0]


def open_wandb(
    tracking: WandbTracking,
    save_dir: Path,
    *,
    config: Mapping[str, Any],
    run_name: str,
    run_id: str,
    rows: Iterable[Mapping[str, Any]],
) -> Tracker:
    """Open run `run_id` under `save_dir`/wandb, new or resumed, and log `rows` to it.

    Earlier offline pieces of the run that were not uploaded are removed, and a new offline piece
    gets all rows, so that it is the whole run. An online run gets the rows that the server lacks.
    """
    wandb = import_wandb()
    session = open_session(wandb)
    if session.mode == "disabled":
        return _Disabled()
    key = api_key(session)
    reason = offline_reason(tracking.mode, session, key)
    if tracking.mode == "online" and reason and session.mode != "offline":
        raise ConfigError(
            f"tracking.mode=online: {reason}; use tracking.mode=auto or offline, or tracking=csv"
        )
    _remove_pieces(save_dir, f"offline-run-*-{run_id}", run_id)
    fields = {
        "project": tracking.project or (None if "WANDB_PROJECT" in os.environ else PROJECT),
        "entity": tracking.entity,
        "group": tracking.group,
        "name": tracking.name or (None if "WANDB_NAME" in os.environ else run_name),
        "tags": tracking.tags or None,
        "notes": tracking.notes,
        "config": dict(config),
        "id": run_id,
        "dir": str(save_dir),
    }
    run = None
    if not reason:
        try:
            settings = _settings(wandb, api_key=key, allow_val_change=True)
            run = wandb.init(**fields, mode="online", resume="allow", settings=settings)
        except (wandb.errors.Error, TimeoutError) as error:
            reason = first_line(error)
            if tracking.mode == "online":
                raise ConfigError(f"tracking.mode=online: {reason}") from None
            # After a failed start a run id stays "in use" until W&B's process has ended.
            end_service(exit_code=1)
            wandb.setup(wandb.Settings(silent=True))
            _remove_pieces(save_dir, f"run-*-{run_id}", run_id)
    if run is None:
        run = wandb.init(**fields, mode="offline", settings=_settings(wandb))
    tracker = WandbTracker(run, reason=reason, first=0 if reason else int(run.step))
    tracker.replay(rows)
    return tracker


class _Disabled(Tracker):
    def messages(self) -> list[str]:
        return ["W&B: disabled by WANDB_MODE or `wandb disabled`"]


def _settings(wandb: Any, **more: Any) -> Any:
    """Settings: silent, without capturing the console, and flushed to disk every half second.

    By default a kill would lose up to 15 s of rows. Settings that the installed version of W&B
    lacks are left out.
    """
    wanted = {
        "silent": True,
        "console": "off",
        "init_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": 0.5,
        **more,
    }
    return wandb.Settings(**{k: v for k, v in wanted.items() if k in wandb.Settings.model_fields})


def _remove_pieces(save_dir: Path, pattern: str, run_id: str) -> None:
    """Remove this run's W&B directories with logs that were not uploaded."""
    for piece in (save_dir / "wandb").glob(pattern):
        log = piece / f"run-{run_id}.wandb"
        if log.exists() and not log.with_name(log.name + ".synced").exists():
            shutil.rmtree(piece)
