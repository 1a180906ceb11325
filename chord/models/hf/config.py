"""Pre-trained language models as options; importable without torch or transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chord.models.base import Shape, Teacher
from chord.models.hf.settings import HFSettings, check_settings
from chord.models.hf.source import place_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.data.batch import Tokenizer
    from chord.models.hf.policy import HFPolicy
    from chord.models.hf.tokenizer import LanguageTokenizer
    from chord.models.policy import Policy


SAVED = "model"
"""The directory inside a run that holds its trained model."""


@dataclass(kw_only=True)
class HFModel(HFSettings):
    """Any causal language model of transformers; `HFSettings` has its settings."""

    option = "hf"

    def tokenizer(self) -> LanguageTokenizer:
        """The model's own tokenizer, with its chat template."""
        from chord.models.hf.tokenizer_loading import load_tokenizer

        return load_tokenizer(self)

    def build(self) -> HFPolicy:
        """Load the weights; `ConfigError` in one line where they are missing or corrupt."""
        from chord.models.hf.loading import load_policy
        from chord.models.hf.storage import begin

        policy = load_policy(self)
        if self.start is not None:
            begin(policy, Path(self.start), f"model.run={self.run}")
        return policy

    def shape(self) -> Shape | None:
        """As the model's configuration has it; None of a GGUF file that has not been unpacked."""
        from chord.models.hf.loading import load_shape

        return load_shape("model.path", self.path, self.revision, context=self.context)

    def reference(self, policy: Policy) -> Policy:
        """With new adapters, the policy with these off, which needs no memory; else a second copy.

        Adapters that go on from those of a run differ from it with these off.
        """
        from chord.models.hf.policy import BasePolicy, HFPolicy

        assert isinstance(policy, HFPolicy)
        return BasePolicy(policy) if policy.adapted and self.start is None else self.build()

    def save(self, policy: Policy, run: Path, notes: dict[str, str]) -> None:
        """Write `model/` into the run directory: the weights, or with LoRA only the adapters."""
        from chord.models.hf.storage import save

        save(policy, self.tokenizer(), self.place(run))

    def place(self, run: Path) -> Path:
        return run / SAVED

    def export(self, policy: Policy, directory: Path, dtype: str | None = None) -> None:
        """Write the weights, with adapters merged, and the tokenizer."""
        from chord.models.hf.storage import export

        export(policy, self.tokenizer(), directory, dtype)

    def causal(self, policy: Policy) -> PreTrainedModel:
        """The policy's own model."""
        from chord.models.hf.policy import HFPolicy

        assert isinstance(policy, HFPolicy)
        return policy.causal

    def load(self, run: Path) -> HFPolicy | None:
        """Read `model/` of the run directory."""
        from chord.models.hf.storage import load

        return load(self, self.place(run)) if self.place(run).is_dir() else None


@dataclass(kw_only=True)
class HFTeacher(Teacher):
    """A second language model with the same tokenizer as the policy's."""

    option = "hf"

    path: str
    revision: str | None = None
    dtype: str = "float32"
    attention: str = "auto"

    def __post_init__(self) -> None:
        check_settings("teacher", self.path, self.dtype, self.attention)

    def files(self) -> dict[str, str]:
        return {"teacher.path": place_of(self.path, self.revision)}

    def build(self) -> HFPolicy:
        """Load the weights; `ConfigError` in one line where they are missing or corrupt."""
        from chord.models.hf.loading import load_teacher

        return load_teacher(
            self.path, revision=self.revision, dtype=self.dtype, attention=self.attention
        )

    def shape(self) -> Shape | None:
        """As the model's configuration has it; None of a GGUF file that has not been unpacked."""
        from chord.models.hf.loading import load_shape

        return load_shape("teacher.path", self.path, self.revision)

    def fit(self, model: Policy | Shape, tokenizer: Tokenizer) -> None:
        """Check that the tokenizers agree, and cut off logits beyond the policy's."""
        from chord.models.hf.policy import HFPolicy
        from chord.models.hf.tokenizer import LanguageTokenizer
        from chord.models.hf.tokenizer_loading import fit_teacher

        assert isinstance(model, HFPolicy | Shape)
        if isinstance(tokenizer, LanguageTokenizer):
            fit_teacher(self.path, model, tokenizer, revision=self.revision)
        else:
            super().fit(model, tokenizer)
