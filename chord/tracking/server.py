"""Only the user, not the current directory, may decide where runs and the API key are sent.

W&B reads `wandb/settings` in the current directory, which takes precedence over the user's own
file. A `base_url` there, or a proxy without certificate checks, could obtain the user's key.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from chord.errors import ConfigError
from chord.io.reading import read_bytes

NAMES = ("disabled", "entity", "mode", "project")
"""The settings that such a file may have: `wandb init` writes them, and none is an address."""
PUBLIC = ("https://api.wandb.ai", "https://wandb.ai")


def refuse_settings_here() -> None:
    """Raise ConfigError if the current directory would change more than the settings in `NAMES`.

    A `base_url` is allowed if it is W&B's own, or if the user's own file or environment sets it.
    """
    known = (_read(_own_file()).get("base_url"), *PUBLIC)
    own = {url.rstrip("/") for url in known if url}
    given = "WANDB_BASE_URL" in os.environ  # takes precedence over any file
    for folder in ("wandb", ".wandb"):
        file = Path(folder, "settings")
        if file.exists() and not file.is_file():
            raise ConfigError(f"{file} of the current directory is not a regular file; remove it")
        for name, value in _read(file).items():
            if name in NAMES or (name == "base_url" and (given or value.rstrip("/") in own)):
                continue
            raise ConfigError(
                f"{name}={value}: {file} of the current directory can't set it, because it says "
                f"where W&B sends runs and the API key; if you want it, set WANDB_{name.upper()} "
                "in the environment and remove the line"
            )


def _own_file() -> Path:
    return Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser() / "settings"


def _read(file: Path) -> dict[str, str]:
    """The settings in a file as W&B reads them; empty if it cannot be read."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(read_bytes(file).decode(errors="replace"))
        # W&B reads `base-url` as `base_url`.
        return {name.replace("-", "_"): value for name, value in parser.items("default")}
    except (configparser.Error, OSError):
        return {}
