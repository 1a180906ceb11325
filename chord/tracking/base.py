"""What every tracker does, and how its messages name files and programs."""

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
        """Refuse variables that the tracker can't use; raises ConfigError."""


@dataclass(kw_only=True)
class NoTracking(Tracking):
    """The run directory only."""

    option = "off"


class Tracker:
    """Receives rows and drops them; base of the trackers that keep them.

    W&B's step of train row t, and of the evaluation after t completed steps, is t: an evaluation
    describes the model that train step t then starts from.
    """

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Add the numbers of `row` to `step`; steps never decrease."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set final values, which belong to no step."""

    def finish(self, exit_code: int = 0) -> None:
        """Close; call it in a `finally`, with a non-zero code after a failure."""

    def messages(self) -> list[str]:
        """What the user should be told: where the record is and what can be done with it."""
        return []

    def evaluation(self, step: int, row: Mapping[str, Any]) -> None:
        """Add an evaluation row (see `recorder`). Test rows are read once, after training, and so
        are the base model's, whose step 0 lies in the past by then: they go to the summary."""
        if row["split"] != "test" and row["model"] != "base":
            self.log(step, row)
        else:
            prefix = "base/" if row["model"] == "base" else ""
            self.summary({prefix + key: value for key, value in numbers(row).items()})

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Receive `Recorder.history()` again."""
        for row in rows:
            (self.evaluation if "split" in row else self.log)(row["step"], row)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numeric entries of a row but its step; null, which stands for not finite, as NaN."""
    return {
        key: math.nan if value is None else value
        for key, value in row.items()
        if key != "step" and (value is None or isinstance(value, int | float))
    }


def near(path: Path) -> Path:
    """`path` from here, where it is below."""
    absolute, here = path.absolute(), Path.cwd()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def shown(path: Path) -> str:
    """`path` as one would type it in a shell; for settings see `chord.config.overrides.typed`."""
    return shlex.quote(str(near(path)))


def command(name: str) -> str:
    """The installed program `name` as one would type it here: by name if the shell finds this
    environment's, else by path (`make train` does not activate the environment)."""
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not program.exists() or (found and os.path.realpath(found) == os.path.realpath(program)):
        return name
    return shown(program)
