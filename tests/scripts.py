"""The commands that an installation brings, and where each is."""

from __future__ import annotations

import functools
import tomllib
from typing import Any

from pages import ROOT


@functools.cache
def project() -> dict[str, Any]:
    """The `[project]` of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def scripts() -> dict[str, str]:
    """`chord-train: chord.train:main`."""
    return dict(project()["scripts"])
