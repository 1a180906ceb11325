"""A run directory given by itself to a command of Hydra's: `python -m chord.evaluate RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chord.config.overrides import setting
from chord.errors import ConfigError

WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--cfg", "-c", "--info", "-i"),
)
"""Flags of Hydra's whose value is the next word."""


def run_given(words: Sequence[str]) -> list[str]:
    """The words with a directory that stands alone as the setting `run`.

    `["outputs/x", "split=val"]` is `["run=outputs/x", "split=val"]`. Raises ConfigError where there
    are two.
    """
    if {"-m", "--multirun"} & {*words}:
        raise ConfigError("-m: only one run is evaluated at a time")
    alone = [
        place
        for place, word in enumerate(words)
        if _stands_alone(word) and (place == 0 or words[place - 1] not in WITH_VALUE)
    ]
    if not alone:
        return list(words)
    also = [word for word in words if word.startswith("run=")]
    if len(alone) + len(also) > 1:
        given = " and ".join([*(words[place] for place in alone), *also])
        raise ConfigError(f"{given}: only one run can be given")
    (place,) = alone
    return [*words[:place], setting("run", words[place]), *words[place + 1 :]]


def _stands_alone(word: str) -> bool:
    """Whether a word is no flag and no setting; the name of a directory may hold anything."""
    if word.startswith(("-", "run=")):
        return False
    return Path(word).is_dir() or not ("=" in word or word.startswith(("~", "+")))
