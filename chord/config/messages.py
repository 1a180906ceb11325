"""Errors of Hydra and omegaconf, and our own, in one readable line."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from chord.config.location import CONF_DIR
from chord.config.plugins import folders
from chord.config.registry import SCHEMAS, SECOND
from chord.errors import ConfigError, first_line, suggest
from chord.io.printing import ERROR, tell
from chord.io.reading import SETTINGS, read_bytes

EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""The extra of this package that brings each launcher."""


EXPECTED = (ConfigError, HydraException, OmegaConfBaseException, YAMLError, OSError)
"""What a user can mend. An `OSError` is of a disk, a file or a network, and names which."""


def stop(error: BaseException, command: str = "train") -> NoReturn:
    """Say what is wrong in one line and exit."""
    line = re.sub(r"\s*\n\s*", " ", one_line(error, command))
    tell(error, f"error: {line}")
    sys.exit(ERROR)


def one_line(error: BaseException, command: str = "train") -> str:
    """Setting, value, and what is allowed, from whatever Hydra or omegaconf raised.

    `command`: whose groups are suggested for a wrong name, `train` or `evaluate`.
    """
    for cause in _causes(error):
        if isinstance(cause, ConfigError):
            return str(cause)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    for cause in _causes(error):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _bad_key(cause, _value_given(error), command)
    text = " ".join(str(error).split())
    # As Hydra 1.3 has it, and 1.4.
    no_group = re.search(r"(?:Could not override|Default for) '([\w/@]+)'", text)
    if no_group:
        return f"{no_group[1]}: no such group{suggest(no_group[1], _groups(command))}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _unknown_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/")
    if error.options is None:
        return " ".join(str(error).split())
    if group == "hydra/launcher" and option in EXTRAS:
        return f"{group}={option}: needs pip install 'chord-posttraining[{EXTRAS[option]}]'"
    if not group:
        return f"{option}: no such config{suggest(option, error.options)}"
    return f"{group}={option}: no such option{suggest(option, error.options)}"


def _value_given(error: BaseException) -> str:
    match = re.search(r"(?:config use|override) \+?([^\s=]+=.*)", str(error))
    return match[1].partition("=")[2].strip() if match else ""


def _bad_key(cause: OmegaConfBaseException, value: str, command: str) -> str:
    key = str(cause.full_key or cause.key)
    given = f"{key}={value}" if value else key
    schema = cause.object_type
    names = [f.name for f in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []
    message = first_line(cause)
    if "is not a subclass of" in message:
        group = SECOND.get(key, key)
        name = group if group == key else f"{group}@{key}"
        options = [path.stem for path, _ in option_files(group)]
        return f"{given}: an option is chosen as {name}=OPTION{suggest(value, options)}"
    wanted = re.search(r"could not be converted to (\w+)", message)
    if wanted:
        kinds = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}
        return f"{given}: must be {kinds.get(wanted[1], wanted[1])}"
    if "ListConfig" in message:
        return f"{given}: must be a list, as in [a,b]"
    if cause.key not in names:
        if "." not in key:
            names = sorted({*names, *_groups(command)})
        if not names:
            return f"{given}: a new key is added with a plus, +{given}"
        return f"{given}: no such setting{suggest(str(cause.key), names)}"
    return f"{given}: {message}"


def _groups(command: str) -> list[str]:
    """The groups of a command."""
    text = (CONF_DIR / f"{command}.yaml").read_text(encoding="utf-8")
    names = [*GROUP_ORDER, *(f"{group}@{name}" for name, group in SECOND.items())]
    return [name for name in names if re.search(rf"^ +- {name}: ", text, re.M)]


# The help follows the flow of a train step.
GROUP_ORDER = ["experiment", *SCHEMAS, "hparams_search"]


def option_files(group: str, own: Sequence[Path] = ()) -> list[tuple[Path, str]]:
    """The files of a group's options, and where each comes from if it isn't one of ours."""
    places = [(CONF_DIR, "")]
    places += [(path, f" ({name})") for name, paths in folders().items() for path in paths]
    places += [(path, f" ({path})") for path in own]
    return [
        (option, origin)
        for path, origin in places
        for option in sorted((path / group).glob("*.yaml"))
    ]


def first_comment(path: Path) -> str:
    """The line that describes an option: its file's first comment."""
    try:
        text = read_bytes(path, SETTINGS).decode(errors="replace")
    except (OSError, ValueError):
        return "(can't be read)"
    for line in text.splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""
