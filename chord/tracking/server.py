"""Where runs and the API key are sent is the user's to say, not the current directory's.

W&B reads `wandb/settings` of the directory that a command is started in, over the user's own file:
its `base_url`, or a proxy without a check of certificates, would get the key of whoever is there.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from chord.errors import ConfigError
from chord.io.reading import read_bytes

NAMES = ("disabled", "entity", "mode", "project")
"""What such a file may set: none of it says where anything is sent. `wandb init` writes these."""
PUBLIC = ("https://api.wandb.ai", "https://wandb.ai")


def refuse_settings_here() -> None:
    """Raise ConfigError where the current directory would change more than a run's project.

    A `base_url` is let through that is W&B's own, or that the user's own file or environment has.
    """
    known = (_read(_own_file()).get("base_url"), *PUBLIC)
    own = {url.rstrip("/") for url in known if url}
    given = "WANDB_BASE_URL" in os.environ  # goes before any file
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
    """The settings in a file as W&B reads them; none where it can't."""
    parser = configparser.ConfigParser()
    try:
        parser.read_string(read_bytes(file).decode(errors="replace"))
        # W&B takes `base-url` for `base_url`.
        return {name.replace("-", "_"): value for name, value in parser.items("default")}
    except (configparser.Error, OSError):
        return {}
