"""A run's files, found from another directory than the one it was started in."""

from __future__ import annotations

import glob
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from chord.run.identity.frozen import literal

FILES = (
    "model.path",
    "model.start",
    "model.chat_template",
    "teacher.path",
    "target.cache",
    "data.problems",
    "data.expert",
    "data.validation",
    "data.test",
    "evaluation.retained",
)
"""Settings that may name a file or a directory, or several."""


def located(config: DictConfig, start: Path) -> DictConfig:
    """`config` with the files that are there from `start` as absolute paths, elsewhere than there.

    The values as typed stay the run's: its fingerprint is that of an equal run's command.
    """
    if start == Path.cwd():
        return config
    found = config.copy()
    for name in FILES:
        value = OmegaConf.select(found, name)
        if isinstance(value, str):
            OmegaConf.update(found, name, literal(_absolute(value, start)))
        elif value is not None:
            files = [literal(_absolute(each, start)) for each in value]
            OmegaConf.update(found, name, files)
    return found


def _absolute(path: str, start: Path) -> str:
    place = start / Path(path).expanduser()
    there = place.exists() or (glob.has_magic(path) and glob.glob(str(place)))
    return str(place) if path and there else path
