"""Hydra's composing without work that nothing reads: two fifths of its time."""

from __future__ import annotations

import functools
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.defaults_list import Overrides
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
from omegaconf import DictConfig


def spare() -> None:
    """Have Hydra leave out what it makes for every file, or every composition, in vain."""
    original = defaults_list._create_interpolation_map
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def _create_interpolation_map(
        overrides: Overrides, entries: list[InputDefault], self_added: bool
    ) -> DictConfig | None:
        """All choices so far, which only an entry like `schedule: ${weighting}` looks at."""
        if any(not entry.is_override() and entry.is_interpolation() for entry in entries):
            return original(overrides, entries, self_added)
        return None

    def __deepcopy__(self: ConfigStore, memo: dict[int, Any]) -> ConfigStore:  # noqa: N807
        """Itself: every composition copies where files are read from, and so all schemas.

        What is loaded from it is a copy anyway.
        """
        return self

    defaults_list._create_interpolation_map = _create_interpolation_map  # type: ignore[assignment]
    ConfigStore.__deepcopy__ = __deepcopy__  # type: ignore[attr-defined]
