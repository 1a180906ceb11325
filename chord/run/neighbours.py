"""A new run or sweep is refused inside the directory of one at work, and around it.

Which is at work is known by its lock alone: what else it writes comes seconds later. Each claims
its own directory first and looks then, so of two that start at once, one inside the other, at least
one sees the other. The inner one gives way at once. The outer one waits until the inner one has
looked too, so that not both of them give way.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from chord.errors import ConfigError
from chord.run.foreign import refuse_foreign
from chord.run.owner import LOCK, OWNER, undecided, writer
from chord.run.places import refuse_a_second_run

_PATIENCE = 60
"""Seconds that another may take to look; it looks at a few files."""


def refuse_others(path: Path) -> None:
    """Raise `ConfigError` unless the directory of a new run, which has been claimed, is its own."""
    refuse_neighbours(path, f"hydra.run.dir={path}:")
    refuse_a_second_run(path)
    refuse_foreign(path, f"hydra.run.dir={path}:")


def refuse_neighbours(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where another is at work in `path` or around it.

    `path` has been claimed, see `chord.run.lock.claim`.
    """
    for outer in path.resolve().parents:
        if who := writer(outer):
            raise ConfigError(
                f"{named} lies inside {outer}, which is in use by {who}; give a directory outside "
                "it"
            )
    for inner in _locked_within(path):
        if who := _decided(inner):
            raise ConfigError(
                f"{named} {inner} in it is in use by {who}; give a directory that contains no runs"
            )


def _locked_within(path: Path) -> list[Path]:
    """The directories in a directory that have the file of a lock."""
    found = (Path(place) for place, _, files in os.walk(path) if {LOCK, OWNER} & {*files})
    return [place for place in found if place != path]


def _decided(directory: Path) -> str | None:
    """Who writes into a directory, once that is decided; None where nobody does."""
    end = time.monotonic() + _PATIENCE
    while who := writer(directory):
        if not undecided(directory) or time.monotonic() > end:
            return who
        time.sleep(0.05)
    return None
