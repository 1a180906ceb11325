"""The precision of the models, and the reassembly of a sharded policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.config.root import TrainConfig

if TYPE_CHECKING:
    from chord.models.models import Models
    from chord.models.policy import Policy


def put_together(config: TrainConfig, models: Models) -> None:
    """Reassemble a sharded policy in main memory, and free the memory of the shards."""
    # Here and below: torch takes seconds to load, and settings are read without it.
    from chord.distributed.strategies import free, whole_weights

    weights = whole_weights(models.policy)
    free(models.policy)
    policy = config.model.build()
    in_precision(policy, config)
    policy.load_state_dict(weights)
    models.policy = policy.eval()
    if models.reference is not None and not list(models.reference.parameters()):
        # Without weights of its own, it shows those of the policy.
        models.reference = config.model.reference(policy)


def in_precision(model: Policy, config: TrainConfig) -> None:
    """Convert the weights to double precision if the trainer computes in it."""
    import torch

    double = config.trainer.precision == "64-true"
    if double != (model.dtype == torch.float64):
        model.to(torch.float64 if double else torch.float32)
