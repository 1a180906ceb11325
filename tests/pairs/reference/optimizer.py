"""AdamW, one number at a time in name, and the learning rates of a step."""

from __future__ import annotations

import math
from typing import Any

import torch
from rows.schedules import switch
from torch import Tensor

Settings = dict[str, Any]


class AdamW:
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, with the gradient's norm clipped."""

    def __init__(self, s: Settings) -> None:
        self.s = s
        self.reset()

    def reset(self) -> None:
        self.taken = 0
        self.mean: list[Tensor] = []
        self.square: list[Tensor] = []

    def clip(self, gradients: list[Tensor]) -> tuple[list[Tensor], float]:
        """The gradient with a norm of at most `clip_norm`, and the norm before."""
        norm = norm_of(gradients)
        factor = min(1.0, self.s["clip_norm"] / (norm + 1e-6))
        return [gradient * factor for gradient in gradients], norm

    def step(self, before: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        """The parameters after a step."""
        s = self.s
        if not self.taken:
            self.mean = [torch.zeros_like(p) for p in before]
            self.square = [torch.zeros_like(p) for p in before]
        self.taken += 1
        after = []
        for k, (p, g) in enumerate(zip(before, gradients, strict=True)):
            self.mean[k] = s["beta1"] * self.mean[k] + (1 - s["beta1"]) * g
            self.square[k] = s["beta2"] * self.square[k] + (1 - s["beta2"]) * g * g
            mean = self.mean[k] / (1 - s["beta1"] ** self.taken)
            square = self.square[k] / (1 - s["beta2"] ** self.taken)
            decayed = p * (1 - rate * s["weight_decay"])
            after.append(decayed - rate * mean / (square.sqrt() + s["eps"]))
        return after


def norm_of(gradients: list[Tensor]) -> float:
    return math.sqrt(math.fsum(float((g.double() ** 2).sum()) for g in gradients))


def factor(s: Settings, step: int, length: int) -> float:
    if step < s["warmup"]:
        return float((step + 1) / s["warmup"])
    if s["decay"] == "constant":
        return 1.0
    done = (step - s["warmup"]) / max(1, length - s["warmup"])
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def rates(config: Settings, schedule: str, step: int) -> tuple[list[float], bool]:
    """The learning rates of a step, and whether the first optimizer starts anew."""
    s, steps, optimizer = config["schedule"], config["steps"], config["optimizer"]
    rate, since, length, fresh = optimizer["lr"], step, steps, False
    if schedule == "step":
        at, phase = switch(s, steps), s["phase"]
        in_rl = step >= at
        if phase["lr"] is not None:
            rate = phase["lr"][int(in_rl)]
        elif not in_rl:
            rate *= phase["sft_factor"]
        if phase["reset_optimizer"]:
            fresh = step == at
            since, length = (step - at, steps - at) if in_rl else (step, at)
    found = [rate * factor(optimizer, since, length)]
    second = config["sft_optimizer"]
    if second is not None:
        found.append(second["lr"] * factor(second, step, second["total_steps"]))
    return found, fresh
