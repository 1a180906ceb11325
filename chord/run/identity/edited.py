"""What was edited in a run's directory to no effect: `config` in `run.json` is what counts.

Edits after which it is not known which run it is are in `chord.run.identity.agreement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.config.schemas import schema_names, schema_of_option
from chord.io.reading import parse_yaml, read_yaml
from chord.run.identity.agreement import flat
from chord.run.identity.settings import RESUME_ALLOWS, tells

OF_A_COMMAND = ("trust",)
"""Settings that no `run.json` keeps."""


def edited(path: Path, config: DictConfig, options: Mapping[str, Any]) -> Iterator[str]:
    """Where `config.yaml`, or the `options` of `run.json`, contradict the run's `config`."""
    try:
        # As they are read back, so that numbers and texts are written alike.
        ours = flat(parse_yaml(OmegaConf.to_yaml(config, resolve=True).encode()))
        schemas = schema_names(config)
    except (OmegaConfBaseException, TypeError, ValueError, OverflowError, StopIteration):
        return  # whoever checks the configuration says what is wrong with it
    values = path / "config.yaml"
    if values.exists():
        try:
            theirs = flat(read_yaml(values))
        except (OSError, ValueError) as error:
            yield str(error)
            theirs = {}
        for key, value in theirs.items():
            if key not in OF_A_COMMAND and not tells(key) and ours.get(key, value) != value:
                yield f"config.yaml has {key}={value}, but the run has {ours[key]}"
    for name, option in options.items():
        group, _, setting = name.partition("@")
        if group in RESUME_ALLOWS:
            continue  # `options` are what the run began with
        kind, run = schema_of_option(group, str(option)), schemas.get(setting or group)
        if kind is not None and run is not None and kind != run:
            yield f"run.json has {name}={option} among its options, but the run has a {run}"
