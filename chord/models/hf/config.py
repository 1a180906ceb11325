"""The settings of a pre-trained language model; importable without torch or transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chord.models.base import ModelConfig, Shape, Teacher
from chord.models.hf.source import find, place_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.data.batch import Tokenizer
    from chord.models.hf.policy import HFPolicy
    from chord.models.hf.tokenizer import LanguageTokenizer
    from chord.models.policy import Policy

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")
SAVED = "model"
"""Directory of a run that holds its trained model."""


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685): W + alpha / rank * B A, of which A and B are trained.

    `targets`: endings of the names of the linear layers that get one; empty for all of them but
    the head. There is no dropout: rollouts and ratios must see one and the same policy.
    """

    rank: int = 0
    """Rank of the adapters; 0 trains all weights."""
    alpha: float = 32.0
    targets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"model.lora.rank={self.rank}: must be at least 0")
        if self.alpha <= 0:
            raise ValueError(f"model.lora.alpha={self.alpha}: must be greater than 0")


@dataclass(kw_only=True)
class HFModel(ModelConfig):
    """Any causal language model of transformers.

    `path`: a directory, a .gguf file, a hub id such as Qwen/Qwen2.5-1.5B-Instruct, or
    pkg://PACKAGE/FILE for a file inside an installed Python package.
    """

    path: str
    revision: str | None = None
    """Branch, tag or commit, for a hub id."""
    dtype: str = "float32"
    """What the weights are kept in, float32 where they are trained; adapters always are."""
    attention: str = "auto"
    gradient_checkpointing: bool = False
    """Compute each layer again in the backward: less memory, a third more time."""
    compile: bool = False
    """torch.compile the layers for training and scoring; sampling is as it is without."""
    chat: bool = True
    """Write prompts with the tokenizer's chat template; false: as plain text."""
    system: str | None = None
    """A system turn in front of every conversation that has none."""
    context: int | None = None
    """The longest sequence; by default what the model was made for."""
    lora: Lora = field(default_factory=Lora)

    def __post_init__(self) -> None:
        check_settings("model", self.path, self.dtype, self.attention)
        if self.context is not None and self.context < 2:
            raise ValueError(f"model.context={self.context}: must be at least 2")
        if self.system is not None and not self.chat:
            raise ValueError("model.system: needs model.chat=true; plain prompts have no turns")

    def files(self) -> dict[str, str]:
        return {"model.path": place_of(self.path, self.revision)}

    def check_trained(self) -> None:
        if self.dtype != "float32" and not self.lora.rank:
            raise ValueError(
                f"model.dtype={self.dtype}: weights of half precision lose optimizer steps to "
                "rounding; train adapters beside them (model.lora.rank=16), or use "
                "model.dtype=float32, with trainer.precision=bf16-mixed to compute in bfloat16"
            )

    def tokenizer(self) -> LanguageTokenizer:
        """The model's own tokenizer, with its chat template."""
        from chord.models.hf.loading import load_tokenizer

        return load_tokenizer(self)

    def build(self) -> HFPolicy:
        """Load the weights; `ValueError` in one line where they are missing or corrupt."""
        from chord.models.hf.loading import load_policy

        return load_policy(self)

    def shape(self) -> Shape | None:
        """As the model's configuration has it; None of a GGUF file."""
        from chord.models.hf.loading import load_shape

        return load_shape("model.path", self.path, self.revision, context=self.context)

    def reference(self, policy: Policy) -> Policy:
        """With adapters the policy without them, which takes no memory; otherwise a second copy."""
        from chord.models.hf.policy import BasePolicy, HFPolicy

        assert isinstance(policy, HFPolicy)
        return BasePolicy(policy) if policy.adapted else self.build()

    def save(self, policy: Policy, run: Path, notes: dict[str, str]) -> None:
        """Write `model/` into the run directory: the weights, or with LoRA the adapters alone."""
        from chord.models.hf.storage import save

        save(self, policy, run / SAVED)

    def export(self, policy: Policy, directory: Path) -> None:
        """Write weights, into which adapters are merged, and the tokenizer."""
        from chord.models.hf.storage import export

        export(self, policy, directory)

    def causal(self, policy: Policy) -> PreTrainedModel:
        """The policy's own model."""
        from chord.models.hf.policy import HFPolicy

        assert isinstance(policy, HFPolicy)
        return policy.causal

    def load(self, run: Path) -> HFPolicy | None:
        """Read `model/` of the run directory."""
        from chord.models.hf.storage import load

        return load(self, run / SAVED) if (run / SAVED).is_dir() else None


@dataclass(kw_only=True)
class HFTeacher(Teacher):
    """A second language model of the same tokenizer as the policy's."""

    path: str
    revision: str | None = None
    dtype: str = "float32"
    attention: str = "auto"

    def __post_init__(self) -> None:
        check_settings("teacher", self.path, self.dtype, self.attention)

    def files(self) -> dict[str, str]:
        return {"teacher.path": place_of(self.path, self.revision)}

    def build(self) -> HFPolicy:
        """Load the weights; `ValueError` in one line where they are missing or corrupt."""
        from chord.models.hf.loading import load_teacher

        return load_teacher(self)

    def shape(self) -> Shape | None:
        """As the model's configuration has it; None of a GGUF file."""
        from chord.models.hf.loading import load_shape

        return load_shape("teacher.path", self.path, self.revision)

    def fit(self, model: Policy | Shape, tokenizer: Tokenizer) -> None:
        """Of one tokenizer with the policy's: its logits beyond the policy's are cut off."""
        from chord.models.hf.loading import fit_teacher
        from chord.models.hf.policy import HFPolicy
        from chord.models.hf.tokenizer import LanguageTokenizer

        assert isinstance(model, HFPolicy | Shape)
        if isinstance(tokenizer, LanguageTokenizer):
            fit_teacher(self, model, tokenizer)
        else:
            super().fit(model, tokenizer)


def check_settings(group: str, path: str, dtype: str, attention: str) -> None:
    """Raise ValueError for what no model can be loaded with."""
    find(f"{group}.path", path)
    if dtype not in DTYPES:
        raise ValueError(f"{group}.dtype={dtype}: must be one of {', '.join(DTYPES)}")
    if attention not in ATTENTION:
        raise ValueError(f"{group}.attention={attention}: must be one of {', '.join(ATTENTION)}")
