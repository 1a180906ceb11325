"""The model and teacher groups of the test bed: the shipped checkpoints, or a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chord.data.tasks import ALPHABET
from chord.data.tokenizer import CharTokenizer
from chord.errors import ConfigError, check_choice
from chord.models.base import ModelConfig, Shape, Teacher
from chord.models.directories import told

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.models.policy import Policy
    from chord.models.transformer import Transformer

R = TypeVar("R")
MODEL = "model.safetensors"
ASSETS = Path(__file__).parent.parent / "assets"
SEEDS = (0, 1, 2)
"""Pre-training seeds of the shipped bases."""


def base_name(seed: int) -> str:
    """`base.safetensors`, or `base-1.safetensors` for another seed than 0."""
    return f"base-{seed}.safetensors" if seed else "base.safetensors"


@dataclass(kw_only=True)
class Tiny(ModelConfig):
    """The pre-trained base model of the test bed, or another checkpoint of the same kind.

    `pretraining_seed`: which of the shipped bases, which were made by one recipe from different
    seeds. They are equally good at the retained skills but not at the target, as their card says.
    """

    option = "tiny"

    path: str | None
    pretraining_seed: int
    run: str | None = None
    """A run whose model takes the place of a base; `path` and `start` are looked up there."""
    start: str | None = None
    """A checkpoint of that run, whose weights are loaded into the base."""

    def __post_init__(self) -> None:
        refuse_empty("model.path", self.path)
        check_choice("model.pretraining_seed", self.pretraining_seed, SEEDS)
        if self.path is not None and self.pretraining_seed != SEEDS[0]:
            raise ConfigError(
                f"model.pretraining_seed={self.pretraining_seed}: chooses a shipped base, but "
                f"model.path={self.path} names another; give one of the two"
            )

    def files(self) -> dict[str, str]:
        base = {"model.path": self.path or str(ASSETS / base_name(self.pretraining_seed))}
        return base if self.start is None else base | {"model.start": self.start}

    def tokenizer(self) -> CharTokenizer:
        """One token for each character of the test bed."""
        return CharTokenizer(ALPHABET)

    def build(self) -> Transformer:
        """Load the checkpoint; `ConfigError` in one line where it is missing or corrupt."""
        policy = _load("model.path", self.path, ASSETS / base_name(self.pretraining_seed))
        if self.start is not None:
            # Here and below: torch takes seconds to load, and settings are read without it.
            from chord.models.checkpoints import begin_with

            begin_with(policy, Path(self.start), f"model.run={self.run}")
        return policy

    def shape(self) -> Shape:
        """Read from the checkpoint's header."""
        return _shape("model.path", self.path, ASSETS / base_name(self.pretraining_seed))

    def save(self, policy: Policy, run: Path, notes: dict[str, str]) -> None:
        """Write `model.safetensors` into the run directory."""
        from chord.models.storage import save_policy
        from chord.models.transformer import Transformer

        assert isinstance(policy, Transformer)
        save_policy(policy, self.place(run), notes)

    def place(self, run: Path) -> Path:
        return run / MODEL

    def export(self, policy: Policy, directory: Path, dtype: str | None = None) -> None:
        """Write it as a Llama, which `model=hf model.chat=false` reads."""
        from chord.models.hf.convert import to_fast
        from chord.models.hf.storage import write

        write(self.causal(policy), to_fast(self.tokenizer()), directory, dtype)

    def causal(self, policy: Policy) -> PreTrainedModel:
        """A Llama with a copy of the weights."""
        from chord.models.hf.convert import to_llama
        from chord.models.transformer import Transformer

        assert isinstance(policy, Transformer)
        return to_llama(policy)

    def load(self, run: Path) -> Transformer | None:
        """Read `model.safetensors` of the run directory."""
        from chord.models.storage import load_policy

        return load_policy(self.place(run)) if self.place(run).exists() else None


@dataclass(kw_only=True)
class TinyTeacher(Teacher):
    """The test bed's teacher, which responds in the expert's style."""

    option = "tiny"

    path: str | None

    def __post_init__(self) -> None:
        refuse_empty("teacher.path", self.path)

    def files(self) -> dict[str, str]:
        return {"teacher.path": self.path or str(ASSETS / "teacher.safetensors")}

    def build(self) -> Transformer:
        """Load the checkpoint; `ConfigError` in one line where it is missing or corrupt."""
        return _load("teacher.path", self.path, ASSETS / "teacher.safetensors")

    def shape(self) -> Shape:
        """Read from the checkpoint's header."""
        return _shape("teacher.path", self.path, ASSETS / "teacher.safetensors")


def refuse_empty(setting: str, path: str | None) -> None:
    """Raise ConfigError for an empty path, which a shell makes of a variable that is not set."""
    if path == "":
        raise ConfigError(f"{setting}=: must name a checkpoint, or be null for the shipped one")


def _load(setting: str, path: str | None, shipped: Path) -> Transformer:
    from chord.models.storage import load_policy

    return _read(load_policy, setting, path, shipped)


def _shape(setting: str, path: str | None, shipped: Path) -> Shape:
    from chord.models.storage import read_shape

    return _read(read_shape, setting, path, shipped)


def _read(read: Callable[[Path], R], setting: str, path: str | None, shipped: Path) -> R:
    try:
        return read(Path(path) if path else shipped)
    except (ValueError, OSError) as error:
        said = told(setting, path) if path and Path(path).is_dir() else None
        raise ConfigError(f"{setting}={path or shipped}: {said or error}") from error
