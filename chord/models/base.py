"""What the options of the model and teacher groups have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chord.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.data.batch import Tokenizer
    from chord.models.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What of a model decides which data go with it."""

    vocab_size: int
    context: int


@dataclass(kw_only=True)
class ModelConfig(ABC):
    """The policy that a run starts from."""

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of texts for this model; ConfigError where it is missing."""

    def files(self) -> Mapping[str, str]:
        """The files, directories and ids on a hub that `build` reads, by the settings."""
        return {}

    def check_trained(self) -> None:
        """Raise ConfigError for settings in which the model can answer, but not be trained."""
        return

    @abstractmethod
    def build(self) -> Policy:
        """The model with its weights; ConfigError in one line where they are missing or corrupt."""

    def shape(self) -> Shape | None:
        """The sizes of what `build` makes, None where they are known from the weights alone.

        Raises ConfigError as `build` does.
        """
        return None

    def reference(self, policy: Policy) -> Policy:
        """The model that the run starts from, to compare `policy` with: a second copy of it."""
        return self.build()

    @abstractmethod
    def save(self, policy: Policy, run: Path, notes: dict[str, str]) -> None:
        """Write a trained model into its run directory."""

    @abstractmethod
    def export(self, policy: Policy, directory: Path) -> None:
        """Write a trained model as a directory of transformers, adapters merged into it."""

    def causal(self, policy: Policy) -> PreTrainedModel:
        """The policy as a model of transformers, with adapters in it; its own weights or a copy.

        What engines answer with. Raises ConfigError where there is none.
        """
        raise ConfigError(f"rollout.engine: {type(self).__name__} is not a model of transformers")

    def place(self, run: Path) -> Path | None:
        """Where `save` writes its safetensors file, or a directory of such; None: not known."""
        return None

    @abstractmethod
    def load(self, run: Path) -> Policy | None:
        """The trained model of a run directory, None where there is none; ConfigError as above."""


@dataclass(kw_only=True)
class Teacher:
    """The source of the expert's distribution."""

    def files(self) -> Mapping[str, str]:
        """As those of `ModelConfig`."""
        return {}

    def build(self) -> Policy | None:
        """The model, or None where there is no teacher."""
        return None

    def shape(self) -> Shape | None:
        """As that of `ModelConfig`."""
        return None

    def fit(self, model: Policy | Shape, tokenizer: Tokenizer) -> None:
        """Make the model's logits those of the policy's tokens; ConfigError where they can't be."""
        if model.vocab_size != tokenizer.vocab_size:
            raise ConfigError(
                f"teacher.path: the model has a vocabulary of {model.vocab_size}, the data one of "
                f"{tokenizer.vocab_size}"
            )


@dataclass(kw_only=True)
class NoTeacher(Teacher):
    """No teacher: weightings and KL terms that need one are refused."""

    option = "none"
