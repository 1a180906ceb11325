"""The registry: every option of every config group, gathered from the classes themselves.

An option is one dataclass that names itself, `option = "cosine"`, and inherits from the type that
`TrainConfig` gives its group. Its fields are the schema, its `__post_init__` checks ranges. The
YAML files under `conf/` hold the values.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass
from types import ModuleType
from typing import get_type_hints

from chord.config.root import TrainConfig

SECOND = {"off_policy": "weighting", "sft_optimizer": "optimizer"}
"""Settings that hold a second option of a group, chosen as `weighting@off_policy=luffy`."""

# Where options are looked for: packages with all their modules, and single modules of those that
# hold torch's own classes beside them, which `--help` must not load.
HOMES = (
    "chord.schedules",
    "chord.weightings",
    "chord.losses",
    "chord.rollout.settings",
    "chord.rewards",
    "chord.data",
    "chord.models.base",
    "chord.models.tiny",
    "chord.models.hf.config",
    "chord.config.optimizer",
    "chord.config.trainer",
    "chord.evaluation.settings",
    "chord.tracking",
)


def _modules() -> Iterator[ModuleType]:
    for name in HOMES:
        home = import_module(name)
        yield home
        for found in pkgutil.walk_packages(getattr(home, "__path__", ()), f"{name}."):
            yield import_module(found.name)


def _gather() -> dict[str, dict[str, type]]:
    hints = get_type_hints(TrainConfig)
    bases = {
        name: hint
        for name, hint in hints.items()
        if isclass(hint) and hint.__module__.startswith("chord.") and name not in SECOND
    }
    gathered: dict[str, dict[str, type]] = {group: {} for group in bases}
    for module in _modules():
        for kind in vars(module).values():
            # Not one that another module has imported, nor one that inherits the name.
            if not isclass(kind) or kind.__module__ != module.__name__:
                continue
            if (option := vars(kind).get("option")) is not None:
                group = next(group for group, base in bases.items() if issubclass(kind, base))
                assert option not in gathered[group], f"{group}={option} stands twice"
                gathered[group][option] = kind
    return gathered


# State: plugins add their options to it.
SCHEMAS: dict[str, dict[str, type]] = _gather()
