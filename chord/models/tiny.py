"""The model and teacher groups of the test bed: the shipped checkpoints, or a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chord.models.transformer import Transformer

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(kw_only=True)
class Tiny:
    """The pre-trained base model of the test bed, or another checkpoint of the same kind."""

    path: str | None

    def build(self) -> Transformer:
        """Load the checkpoint; `ValueError` in one line where it is missing or corrupt."""
        return _load("model.path", self.path, ASSETS / "base.safetensors")


@dataclass(kw_only=True)
class Teacher:
    """The source of the expert's distribution."""

    def build(self) -> Transformer | None:
        """The model, or None where there is no teacher."""
        return None


@dataclass(kw_only=True)
class NoTeacher(Teacher):
    """No teacher: weightings and KL terms that need one are refused."""


@dataclass(kw_only=True)
class TinyTeacher(Teacher):
    """The test bed's teacher, which works in the expert's manner."""

    path: str | None

    def build(self) -> Transformer:
        """Load the checkpoint; `ValueError` in one line where it is missing or corrupt."""
        return _load("teacher.path", self.path, ASSETS / "teacher.safetensors")


def _load(setting: str, path: str | None, shipped: Path) -> Transformer:
    from chord.models.storage import load_policy

    try:
        return load_policy(Path(path) if path else shipped)
    except (ValueError, OSError) as error:
        raise ValueError(f"{setting}={path or shipped}: {error}") from error
