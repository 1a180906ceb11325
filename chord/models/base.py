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


ENDLESS = 2**31
"""The context of a model that sets no limit."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The properties of a model that decide which data it can be used with."""

    vocab_size: int
    context: int


@dataclass(kw_only=True)
class ModelConfig(ABC):
    """The policy that a run starts from."""

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of this model; ConfigError if it is missing."""

    def files(self) -> Mapping[str, str]:
        """The files, directories and hub ids that `build` reads, by setting."""
        return {}

    def check_trained(self) -> None:
        """Raise ConfigError for settings with which the model can generate but not be trained."""
        return

    @abstractmethod
    def build(self) -> Policy:
        """The model with its weights; a one-line ConfigError if they are missing or corrupt."""

    def shape(self) -> Shape | None:
        """The sizes of the model that `build` makes; None if only the weights tell.

        Raises ConfigError as `build` does.
        """
        return None

    def reference(self, policy: Policy) -> Policy:
        """The reference, for comparison with `policy`: a second copy of the base."""
        return self.build()

    @abstractmethod
    def save(self, policy: Policy, run: Path, notes: dict[str, str]) -> None:
        """Write a trained model into its run directory."""

    @abstractmethod
    def export(self, policy: Policy, directory: Path, dtype: str | None = None) -> None:
        """Write a trained model as a transformers directory, with adapters merged.

        `dtype`: of the weights; None: as they are. It may change the policy.
        """

    def causal(self, policy: Policy) -> PreTrainedModel:
        """The policy as a transformers model, including adapters; its own weights or a copy.

        Rollout engines use it. Raises ConfigError if there is no such form.
        """
        raise ConfigError(f"rollout.engine: {type(self).__name__} is not a model of transformers")

    def place(self, run: Path) -> Path | None:
        """The safetensors file, or the directory of them, that `save` writes; None: unknown."""
        return None

    @abstractmethod
    def load(self, run: Path) -> Policy | None:
        """The trained model of a run directory, None if there is none; ConfigError as above."""


@dataclass(kw_only=True)
class Teacher:
    """The source of the expert's distribution."""

    def files(self) -> Mapping[str, str]:
        """As in `ModelConfig`."""
        return {}

    def build(self) -> Policy | None:
        """The model, or None if there is no teacher."""
        return None

    def shape(self) -> Shape | None:
        """As in `ModelConfig`."""
        return None

    def fit(self, model: Policy | Shape, tokenizer: Tokenizer) -> None:
        """Reduce the model's logits to the policy's tokens; ConfigError if that is impossible."""
        if model.vocab_size != tokenizer.vocab_size:
            raise ConfigError(
                f"teacher.path: the model has a vocabulary of {model.vocab_size}, the data one of "
                f"{tokenizer.vocab_size}"
            )


@dataclass(kw_only=True)
class NoTeacher(Teacher):
    """No teacher: weightings and KL terms that need one are refused."""

    option = "none"
