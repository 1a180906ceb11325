"""Where the files of the options lie, and what Hydra has to be told of its version."""

from __future__ import annotations

from pathlib import Path

import hydra

_PACKAGE = Path(__file__).parents[1]
_PACKAGED = _PACKAGE / "conf"
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else _PACKAGE.parent / "conf"
_AT_LEAST_1_4 = tuple(map(int, hydra.__version__.split(".")[:2])) >= (1, 4)
# Hydra 1.3 warns where this isn't said, and 1.4 where it is.
VERSION_BASE = {} if _AT_LEAST_1_4 else {"version_base": "1.3"}
