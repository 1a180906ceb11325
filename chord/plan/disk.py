"""The disk that a run's checkpoints take, in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.plan.memory import Part

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.models.policy import Policy


def of_checkpoints(config: TrainConfig, policy: Policy) -> list[Part]:
    """Return the last checkpoint, those that are kept, and the one that is being written.

    Each holds the trained weights and the optimizer's two moments for each of them. With adapters,
    these are the adapters alone.
    """
    trained = [p for p in policy.parameters() if p.requires_grad]
    weights = sum(p.numel() * p.element_size() for p in trained)
    optimizers = 1 if config.sft_optimizer is None else 2
    size = weights * (1 + 2 * optimizers)
    most = config.trainer.keep.most(config.steps, config.trainer.checkpoint_every)
    kept = [Part(f"kept checkpoints (at most {most})", most * size)] if most else []
    return [Part("last checkpoint", size), *kept, Part("next one, while it is written", size)]
