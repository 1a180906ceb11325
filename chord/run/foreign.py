"""A new run writes over no file that was there: its directory may hold others, by other names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from chord.errors import ConfigError
from chord.io.outputs import json_with
from chord.io.reading import read_yaml
from chord.run.files import APPENDED, CHECKPOINT, SAMPLES, SCORER_FAILURE, STATUS

_AT_THE_END = ("curves.png", "model.safetensors", "model", "metrics.csv", "summary.csv")


def _is_configuration(path: Path) -> bool:
    """Whether a file is a configuration of chord's, as a run that stopped early has left it."""
    state = path.lstat()
    if S_ISREG(state.st_mode) and state.st_size == 0:
        return True  # killed while Hydra wrote it: it holds nothing
    found = read_yaml(path)
    return isinstance(found, Mapping) and {"schedule", "weighting", "objective"} <= found.keys()


FILES: dict[str, Callable[[Path], bool]] = {
    "config.yaml": _is_configuration,
    ".hydra/config.yaml": _is_configuration,
    STATUS: json_with("status", "fingerprint"),
} | dict.fromkeys(
    (*APPENDED, SAMPLES, SCORER_FAILURE, str(CHECKPOINT), "nonfinite", *_AT_THE_END),
    lambda _: False,
)
"""What a run writes over, and whether a file is one that a run may leave before its `run.json`."""


def refuse_foreign(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a run without a `run.json` in `path` would
    write over a file that is not a run's."""
    for name, is_own in FILES.items():
        file = path / name
        if not os.path.lexists(file):
            continue
        with suppress(OSError, ValueError):
            if is_own(file):
                continue
        raise ConfigError(
            f"{named} {name} in it is not a run's and would be written over; give another "
            "directory, or move that away"
        )
