"""The rollout group: how many answers a train step samples, and how."""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(kw_only=True)
class RolloutConfig:
    """How many answers are sampled in a train step, and how.

    Raises ValueError naming ``rollout.<field>``; warns where top_p or top_k cuts the distribution.
    """

    problems: int = 24
    """Problems in a train step."""
    group_size: int = 8
    """Answers to each problem; a group of one has no relative advantage."""
    temperature: float = 1.0
    top_p: float = 1.0
    """Share of probability sampled from; 1 is all of it."""
    top_k: int = 0
    """Number of tokens sampled from; 0 is all of them."""
    max_new_tokens: int = 64
    """Length at which an answer without an end token is cut."""
    updates: int = 1
    """Optimizer updates made on one batch of answers."""

    def __post_init__(self) -> None:
        for name, least in (
            ("problems", 1),
            ("group_size", 2),
            ("max_new_tokens", 1),
            ("updates", 1),
            ("top_k", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"rollout.{name}={value}: must be at least {least}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"rollout.temperature={self.temperature}: must be greater than 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"rollout.top_p={self.top_p}: must be within (0, 1]")
        for name, off in (("top_p", 1.0), ("top_k", 0)):
            if getattr(self, name) != off:
                warnings.warn(
                    f"rollout.{name}={getattr(self, name)}: samples no longer follow the policy "
                    f"that is trained, which biases its gradient; {off} turns this off",
                    stacklevel=3,
                )
