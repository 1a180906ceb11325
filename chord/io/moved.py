"""The addresses that modules had in version 0.1, so that code written for it goes on working."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ADDRESSES = {
    "chord.advantages": "chord.losses.advantages",
    "chord.build": "chord.run.build",
    "chord.gates": "chord.schedules.gates",
    "chord.mixes": "chord.schedules.mixes",
    "chord.module": "chord.step.module",
    "chord.optimizer": "chord.config.optimizer",
    "chord.recorder": "chord.run.recorder",
    "chord.registry": "chord.config.registry",
    "chord.targets": "chord.losses.targets",
    "chord.trainer": "chord.config.trainer",
}


class Moved(MetaPathFinder, Loader):
    """Finds a module at its former address, with a warning that names the present one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The former address's, if it is one."""
        return ModuleSpec(fullname, self) if fullname in ADDRESSES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that hands on what the present one has."""
        now = ADDRESSES[spec.name]
        warnings.warn(f"{spec.name} is now {now}", DeprecationWarning, stacklevel=2)
        module, present = ModuleType(spec.name), import_module(now)
        module.__getattr__ = lambda name: getattr(present, name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def find_moved_modules() -> None:
    """Let `import` find modules at their former addresses."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
