"""One clipped optimizer step on the gradient of all ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer

from chord.distributed.strategies import average_gradients, gradient_norm, scale_gradients


class DivergedError(ValueError):
    """Training cannot go on: a gradient is not finite."""


def _stop(optimizer: torch.optim.Optimizer) -> None:
    raise DivergedError("the gradient is not finite")


def take_step(
    optimizer: LightningOptimizer,
    parameters: Sequence[torch.nn.Parameter],
    clip: float,
    *,
    name: str = "",
    counted: bool = True,
    not_finite: Callable[[torch.optim.Optimizer], None] = _stop,
) -> tuple[dict[str, float], float, bool]:
    """Clip the gradient's norm and take a step; returns the norm for the log, the seconds, and
    whether the step was taken.

    `name` is that of a second optimizer; `counted`: whether Lightning counts the step.
    `not_finite` is called if the norm is not finite; it raises, or the step is skipped. All ranks
    have the same norm, so all do the same.
    """
    began = time.perf_counter()
    average_gradients(parameters)
    norm = gradient_norm(parameters)
    finite = bool(torch.isfinite(norm))
    if finite:
        scale_gradients(parameters, clip, norm)
        (optimizer if counted else optimizer.optimizer).step()
    else:
        not_finite(optimizer.optimizer)
        if counted:
            # Lightning counts optimizer steps; a skipped one must not make the run longer.
            optimizer._on_before_step()
            optimizer._on_after_step()
    key = f"grad/{name}_norm" if name else "grad/norm"
    return {key: float(norm)}, time.perf_counter() - began, finite
