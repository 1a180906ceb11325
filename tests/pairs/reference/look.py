"""What a model says at each token of an answer, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(eq=False)
class Token:
    """The logits (V,) where a token is predicted, and the token."""

    logits: Tensor
    target: int
    _logprobs: dict[float, Tensor] = field(default_factory=dict)

    def logprobs(self, temperature: float = 1.0) -> Tensor:
        """(V,), with gradient."""
        if temperature not in self._logprobs:
            self._logprobs[temperature] = (self.logits / temperature).log_softmax(-1)
        return self._logprobs[temperature]

    def logprob(self, temperature: float = 1.0) -> Tensor:
        return self.logprobs(temperature)[self.target]

    @cached_property
    def distribution(self) -> list[float]:
        found: list[float] = self.logprobs().detach().exp().tolist()
        return found

    @property
    def p(self) -> float:
        return self.distribution[self.target]

    def entropy_at(self, temperature: float) -> Tensor:
        """With gradient."""
        logprobs = self.logprobs(temperature)
        return -(logprobs.exp() * logprobs).sum()

    @cached_property
    def entropy(self) -> float:
        return entropy_of(self.distribution)


def entropy_of(distribution: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in distribution if p > 0)


@dataclass(eq=False)
class Line:
    """A prompt, what follows it, and which of that counts."""

    prompt: list[int]
    answer: list[int]
    counts: list[bool]
    signal: float = 0.0
    share: float = 1.0

    def look(self, model: Any) -> list[Token]:
        """A model at each token of the answer."""
        if not self.answer:
            return []
        logits = model(torch.tensor([[*self.prompt, *self.answer]]))[0]
        first = len(self.prompt) - 1
        return [Token(logits[first + place], token) for place, token in enumerate(self.answer)]


@dataclass
class Models:
    """The policy, and the frozen models; each maps ids (1, L) to logits (1, L, V)."""

    policy: Any
    teacher: Any
    reference: Any


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def minmax(scores: Sequence[float]) -> list[float]:
    """n in [0, 1] of each, 0 where all are equal."""
    sizes = [abs(score) for score in scores]
    if not sizes or max(sizes) == min(sizes):
        return [0.0] * len(sizes)
    return [(size - min(sizes)) / (max(sizes) - min(sizes)) for size in sizes]


def number(value: Tensor | float) -> float:
    """Without gradient."""
    return float(value.item()) if isinstance(value, Tensor) else float(value)
