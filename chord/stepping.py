"""One clipped optimizer step on the gradient of all ranks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer

from chord.processes import average_gradients, clip_gradients


class DivergedError(ValueError):
    """Training cannot go on: a gradient is not finite."""


def take_step(
    optimizer: LightningOptimizer,
    parameters: Sequence[torch.nn.Parameter],
    clip: float,
    *,
    name: str = "",
    counted: bool = True,
) -> tuple[dict[str, float], float]:
    """Clip the gradient's norm and take a step; returns the norm for the log, and the seconds.

    `name` is that of a second optimizer; `counted`: whether Lightning is told of the step.
    """
    began = time.perf_counter()
    average_gradients(parameters)
    norm = clip_gradients(parameters, clip)
    prefix = name and f"{name}_"
    if not torch.isfinite(norm):
        rate = optimizer.param_groups[0]["lr"]
        raise DivergedError(
            f"{prefix}optimizer.lr={rate:g}: the gradient is no longer finite; "
            "what was computed before is kept, a lower learning rate may help"
        )
    (optimizer if counted else optimizer.optimizer).step()
    return {f"grad/{prefix}norm": float(norm)}, time.perf_counter() - began
