"""Low-rank adapters (LoRA) in a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from chord.errors import ConfigError, first_line
from chord.io.extras import install
from chord.models.hf.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.models.hf.settings import Lora


def adapt(model: PreTrainedModel, lora: Lora) -> nn.Module:
    """Put adapters into a model; all other weights are frozen.

    Their first matrix is drawn from torch's global generator and the second is zero, so the model
    starts unchanged. Raises ConfigError if a target names no linear layer, one that peft can't
    adapt, or one that shares its weight with the embedding: merged, the adapter would change both.
    """
    try:
        # An optional package.
        import peft
    except ImportError as error:
        raise ConfigError(
            f"model.lora.rank={lora.rank}: needs the peft library; {install('hf')}"
        ) from error
    linear = [name for name, part in model.named_modules() if _is_linear(part)]
    for target in lora.targets:
        if not any(_is_named(name, target) for name in linear):
            known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
            raise ConfigError(
                f"model.lora.targets={lora.targets}: {target} is no linear layer of this model "
                f"(there are: {known})"
            )
    _refuse_shared(model, lora)
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a factor, of any size
        lora_dropout=0.0,
        target_modules=list(lora.targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            adapted: nn.Module = peft.get_peft_model(model, settings)
    except ValueError as error:  # it can't adapt all layers of Mamba
        raise ConfigError(f"model.lora.targets={lora.targets}: {first_line(error)}") from error
    return adapted


def _refuse_shared(model: PreTrainedModel, lora: Lora) -> None:
    embedding: Any = model.get_input_embeddings()
    for name, part in model.named_modules():
        named = any(_is_named(name, target) for target in lora.targets)
        if named and part is not embedding and part.weight is embedding.weight:
            raise ConfigError(
                f"model.lora.targets={lora.targets}: {name} shares its weight with the embedding, "
                "so no model can be written with the adapter added in; leave it out"
            )


def _is_named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _is_linear(module: nn.Module) -> bool:
    # GPT-2's linear layers are transposed.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
