"""What settings of TRL and verl are called here."""

from __future__ import annotations

NAMES: dict[str, tuple[str, ...]] = {
    "num_generations": ("rollout.group_size",),
    "rollout_n": ("rollout.group_size",),
    "per_device_train_batch_size": ("trainer.micro_batch", "data.expert_batch"),
    "train_batch_size": ("data.expert_batch", "rollout.problems"),
    "learning_rate": ("optimizer.lr",),
    "beta": ("objective.kl.coef",),
    "kl_coef": ("objective.kl.coef",),
    "max_completion_length": ("rollout.max_new_tokens",),
    "max_response_length": ("rollout.max_new_tokens",),
    "num_train_epochs": ("steps",),
    "total_epochs": ("steps",),
    "max_steps": ("steps",),
    "epsilon": ("objective.clip_low",),
    "epsilon_high": ("objective.clip_high",),
}
"""The settings that are meant, by the last part of the name there."""


def meant(name: str) -> tuple[str, ...]:
    """The settings that are meant by a name of another library; none where it is not known.

    >>> meant("rollout.num_generations")
    ('rollout.group_size',)
    """
    return NAMES.get(name.rpartition(".")[2], ())
