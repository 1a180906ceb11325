"""The base class of the trackers, and how their messages refer to files and programs."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Tracking:
    """Base of the tracking options."""

    def check_environment(self) -> None:
        """Raise ConfigError for environment variables that the tracker cannot use."""


@dataclass(kw_only=True)
class NoTracking(Tracking):
    """No tracker: only the run directory is written."""

    option = "off"


class Tracker:
    """A tracker that drops its rows; the base class of those that keep them.

    Train row t and the evaluation after t completed steps both have W&B step t: the evaluation
    describes the model from which train step t starts.
    """

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Add the numbers of `row` to `step`. Steps must not decrease."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set final values, which do not belong to a step."""

    def finish(self, exit_code: int = 0) -> None:
        """Close the tracker. Call this in a `finally`, with a non-zero code after a failure."""

    def messages(self) -> list[str]:
        """Return lines for the user: where the record is and what can be done with it."""
        return []

    def evaluation(self, step: int, row: Mapping[str, Any]) -> None:
        """Add an evaluation row (see `recorder`).

        Rows of the test split and of the base go to the summary: both are computed after training,
        when the base's step 0 has passed.
        """
        if row["split"] != "test" and row["model"] != "base":
            self.log(step, row)
        else:
            prefix = "base/" if row["model"] == "base" else ""
            self.summary({prefix + key: value for key, value in numbers(row).items()})

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add all rows of `Recorder.history()`."""
        for row in rows:
            (self.evaluation if "split" in row else self.log)(row["step"], row)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numeric entries of a row except its step; null (not finite) becomes NaN."""
    return {
        key: math.nan if value is None else value
        for key, value in row.items()
        if key != "step" and (value is None or isinstance(value, int | float))
    }


def near(path: Path) -> Path:
    """Return `path` relative to the current directory if it is below it, else absolute."""
    absolute, here = path.absolute(), Path.cwd()
    return absolute.relative_to(here) if here in absolute.parents else absolute


def shown(path: Path) -> str:
    """Quote `path` for a shell; for settings see `chord.config.overrides.typed`."""
    return shlex.quote(str(near(path)))


def command(name: str) -> str:
    """Return how to call the installed program `name` in the user's shell.

    By name if the shell finds the one of this environment, else by path, because `make train` does
    not activate the environment.
    """
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not program.exists() or (found and os.path.realpath(found) == os.path.realpath(program)):
        return name
    return shown(program)
