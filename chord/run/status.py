"""`status.json` of a run directory: whether the run is going on, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from chord.config.messages import EXPECTED, one_line
from chord.config.schemas import schema_names
from chord.distributed.signals import Signals, Stopped
from chord.io.writing import UnwrittenError, json_file, write_atomically, write_in_place
from chord.run.directory import RunDirectory
from chord.run.files import (
    EVALUATIONS,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    STATUS,
    read_rows,
    read_status,
)
from chord.run.identity.settings import fingerprint_of


def fingerprint(cfg: DictConfig, lengths: Sequence[Sequence[int]] = ()) -> str:
    """`fingerprint_of` a configuration."""
    return fingerprint_of(OmegaConf.to_container(cfg, resolve=True), schema_names(cfg), lengths)


def record(run: RunDirectory, status: str, error: str | None = None) -> None:
    """Write a run's `status.json`, all of it or nothing; not where its directory has gone."""
    if not run.begun:
        run.path.mkdir(parents=True, exist_ok=True)
    elif not run.path.is_dir():
        return
    write_status(
        run.path,
        status=status,
        error=error,
        sweep=run.sweep,
        job=run.job,
        fingerprint=fingerprint(run.config, run.lengths),
        before=run.before,
        model=run.model if status == FINISHED else {},
    )


def write_status(
    path: Path,
    *,
    status: str,
    error: str | None,
    sweep: str | None,
    job: int | None,
    fingerprint: str,
    before: str = "",
    model: Mapping[str, str] | None = None,
) -> None:
    """Write `status.json` into a directory, all of it or nothing.

    `before`: the fingerprint of a run that goes on as another one, until its `run.json` is written.
    `model`: the hashes of a finished run's model.
    """
    facts = {
        "status": status,
        "error": error,
        "sweep": sweep,
        "job": job,
        "fingerprint": fingerprint,
        **({"before": before} if before not in ("", fingerprint) else {}),
        **({"model": dict(model)} if model else {}),
    }
    content = json_file(facts)
    try:
        write_atomically(path / STATUS, content)
    except UnwrittenError:
        # It has to be true, above all where the disk is full.
        write_in_place(path / STATUS, content)


def begin(run: RunDirectory) -> None:
    """From here on the directory is the run's, and so is its status."""
    run.path.mkdir(parents=True, exist_ok=True)
    # First, so that a signal that comes while it is written finds it so.
    run.begun = True
    record(run, RUNNING)


@contextmanager
def recorded(run: RunDirectory, signals: Signals, job: Path | None = None) -> Iterator[None]:
    """Record how the block ends.

    A run that stops before it `begin`s leaves the directory's status alone: what is there is that
    of the run it was to resume, which nobody runs. A job of a sweep always leaves one, in its own
    directory `job`.
    """
    try:
        yield
    except BaseException as error:
        stopped = was_stopped(error)
        # The first error is the one to be said.
        with suppress(OSError, UnwrittenError, Stopped), signals.held_back():
            own = run if run.begun or job is None else replace(run, path=job)
            if run.begun or job is not None:
                record(own, *((INTERRUPTED,) if stopped else (FAILED, reason(error))))
            if stopped and not run.begun:
                _interrupted_before(run.path)
        raise
    with signals.held_back():
        record(run, FINISHED)


def _interrupted_before(path: Path) -> None:
    """A run that was killed is still `running` on record; it was to go on, and does not."""
    known = read_status(path)
    if known.get("status") == RUNNING:
        content = json_file({**known, "status": INTERRUPTED})
        write_atomically(path / STATUS, content)


def was_stopped(error: BaseException) -> bool:
    """Whether a run was asked to end, also where that failed in turn, as it does where the terminal
    is closed and there is something to say."""
    if not isinstance(error, Exception):
        return True
    before: BaseException | None = error
    while before is not None and not isinstance(before, KeyboardInterrupt | SystemExit):
        before = before.__context__
    return before is not None


def reason(error: BaseException) -> str:
    """An error in one line; one that no user can be expected to cause is named by its class."""
    text = " ".join((one_line(error) if isinstance(error, EXPECTED) else str(error)).split())
    expected = isinstance(error, EXPECTED) and not isinstance(error, OSError)
    return text if expected and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def stored_metric(path: Path, name: str) -> float | None:
    """A metric of the last validation on record, NaN where it was not finite; None without one."""
    try:
        rows = read_rows(path / EVALUATIONS)
    except ValueError:
        return None
    validations = [row for row in rows if (row["split"], row["model"]) == ("val", "trained")]
    if not validations or name not in validations[-1]:
        return None
    value = validations[-1][name]
    return math.nan if value is None else float(value)
