"""The model and teacher groups of the test bed: the shipped checkpoints, or a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chord.models.transformer import Transformer

ASSETS = Path(__file__).parent.parent / "assets"
SEEDS = (0, 1, 2)
"""Pre-training seeds of the shipped bases."""


def base_name(seed: int) -> str:
    """`base.safetensors`, or `base-1.safetensors` for another seed than 0."""
    return f"base-{seed}.safetensors" if seed else "base.safetensors"


@dataclass(kw_only=True)
class Tiny:
    """The pre-trained base model of the test bed, or another checkpoint of the same kind.

    `pretraining_seed`: which of the shipped bases, made by one recipe from different seeds; they
    are good at the same skills but not at the same part of the target, as their card says.
    """

    path: str | None
    pretraining_seed: int

    def __post_init__(self) -> None:
        if self.pretraining_seed not in SEEDS:
            allowed = ", ".join(map(str, SEEDS))
            raise ValueError(
                f"model.pretraining_seed={self.pretraining_seed}: must be one of {allowed}"
            )
        if self.path is not None and self.pretraining_seed != SEEDS[0]:
            raise ValueError(
                f"model.pretraining_seed={self.pretraining_seed}: chooses a shipped base, but "
                f"model.path={self.path} names another; give one of the two"
            )

    def build(self) -> Transformer:
        """Load the checkpoint; `ValueError` in one line where it is missing or corrupt."""
        return _load("model.path", self.path, ASSETS / base_name(self.pretraining_seed))


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
