"""In which precision the models are, and how a sharded policy is put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.config.root import TrainConfig

if TYPE_CHECKING:
    from chord.models.models import Models
    from chord.models.policy import Policy


def put_together(config: TrainConfig, models: Models) -> None:
    """Make a sharded policy a whole one in main memory; the shards' memory is given back."""
    from chord.distributed.strategies import free, whole_weights

    weights = whole_weights(models.policy)
    free(models.policy)
    policy = config.model.build()
    in_precision(policy, config)
    policy.load_state_dict(weights)
    models.policy = policy.eval()
    if models.reference is not None and not list(models.reference.parameters()):
        # Without weights of its own it shows the policy.
        models.reference = config.model.reference(policy)


def in_precision(model: Policy, config: TrainConfig) -> None:
    """Weights in double precision where the trainer computes in it, and only there."""
    import torch

    double = config.trainer.precision == "64-true"
    if double != (model.dtype == torch.float64):
        model.to(torch.float64 if double else torch.float32)
