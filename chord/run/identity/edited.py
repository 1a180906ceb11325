"""What was edited in a run's directory to no effect: `config` in `run.json` is what counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.config.schemas import schema_names, schema_of_option
from chord.config.trust.files import leaves
from chord.io.reading import parse_yaml, read_yaml
from chord.run.identity.settings import RESUME_ALLOWS

OF_A_COMMAND = ("trust",)
"""Settings that no `run.json` keeps."""


def edited(path: Path, config: DictConfig, options: Mapping[str, Any]) -> Iterator[str]:
    """Where `config.yaml`, or the `options` of `run.json`, contradict the run's `config`."""
    try:
        # As they are read back, so that numbers and texts are written alike.
        ours = _leaves(parse_yaml(OmegaConf.to_yaml(config, resolve=True).encode()))
        schemas = schema_names(config)
    except (OmegaConfBaseException, TypeError, ValueError, OverflowError, StopIteration):
        return  # whoever checks the configuration says what is wrong with it
    values = path / "config.yaml"
    if values.exists():
        try:
            theirs = _leaves(read_yaml(values))
        except (OSError, ValueError) as error:
            yield str(error)
            theirs = {}
        for key, value in theirs.items():
            if key not in OF_A_COMMAND and ours.get(key, ...) != value:
                has = f"the run has {ours[key]}" if key in ours else "there is no such setting"
                yield f"config.yaml has {key}={value}, but {has}"
    for name, option in options.items():
        group, _, setting = name.partition("@")
        if group in RESUME_ALLOWS:
            continue  # `options` are what the run began with
        kind, run = schema_of_option(group, str(option)), schemas.get(setting or group)
        if kind is not None and run is not None and kind != run:
            yield f"run.json has {name}={option} among its options, but the run has a {run}"


def _leaves(values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in leaves(values):
        # The items of a list share their key.
        found[key] = [*found[key], value] if key in found else [value]
    return {key: value[0] if len(value) == 1 else value for key, value in found.items()}
