"""The sweeper as a plugin of Hydra."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from hydra.core.plugins import Plugins

from chord.sweep.sweeper import ChordSweeper

PACKAGE = "hydra_plugins"


def register_sweeper() -> None:
    """Let Hydra find `hydra/sweeper=chord` at the address that `SweeperConfig` has.

    Hydra takes plugins of the package `hydra_plugins` alone. Its module is made in memory: one on
    disk would be a second package beside `chord`, for one class.
    """
    module = ModuleType(f"{PACKAGE}.chord")
    ChordSweeper.__module__ = module.__name__
    vars(module)[ChordSweeper.__name__] = ChordSweeper
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError:  # no other plugin is installed
        package = sys.modules[PACKAGE] = ModuleType(PACKAGE)
        package.__path__ = []
    vars(package)["chord"] = sys.modules[module.__name__] = module
    Plugins.instance().register(ChordSweeper)
