"""What answers a step's problems: the policy itself, or an engine that is given its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.rollout.engines.base import Engine, Foreign, Native

if TYPE_CHECKING:
    from chord.config import TrainConfig
    from chord.data.base import Data
    from chord.models.policy import Policy

__all__ = ["Engine", "Foreign", "Native", "open_engine"]


def open_engine(config: TrainConfig, data: Data, policy: Policy) -> Engine:
    """The engine of `rollout.engine`; ValueError in one line for what is not installed."""
    rollout, tokenizer = config.rollout, data.tokenizer
    if rollout.engine == "native":
        return Native(rollout, tokenizer)
    from chord.rollout.engines.hf import Generate

    return Generate(rollout, tokenizer, model=config.model, micro_batch=config.trainer.micro_batch)
