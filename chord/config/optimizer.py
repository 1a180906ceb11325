"""The optimizer group: AdamW with warm-up, one clipped step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.errors import ConfigError, check_choice

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) with the gradient's norm clipped first.

    The learning rate is `lr * factor(step)`: linear from `lr / warmup` over `warmup` train
    steps, then constant, or a half cosine to 0 at the end of the run.
    """

    option = "adamw"

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    clip_norm: float
    warmup: int
    decay: str
    total_steps: int

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                value = getattr(self, name)
                raise ConfigError(f"optimizer.{name}={value}: must be above 0 and finite")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: must be in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(
                f"optimizer.weight_decay={self.weight_decay}: must be at least 0 and finite"
            )
        if self.warmup < 0:
            raise ConfigError(f"optimizer.warmup={self.warmup}: must be at least 0 steps")
        check_choice("optimizer.decay", self.decay, ("constant", "cosine"))

    def factor(self, step: int, length: int | None = None) -> float:
        """The learning rate at a step of a phase, as a share of `lr`: 1 past the warm-up.

        `length` is the phase's number of steps, by default the run's. With warmup 4: 1/4, 2/4, 3/4,
        1, 1, ...
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.decay == "constant":
            return 1.0
        end = self.total_steps if length is None else length
        done = (step - self.warmup) / max(1, end - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.AdamW:
        """The torch optimizer; the training step sets its learning rate."""
        import torch

        return torch.optim.AdamW(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
