"""What a step leaves for those that show or store it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a module leaves behind after a train step, for whoever shows or stores it.

    `step` counts from 0; `metrics` are deterministic numbers, `timings` wall-clock ones.
    """

    step: int
    metrics: Mapping[str, Any]
    timings: Mapping[str, Any] = field(default_factory=dict)
    completions: Sequence[Mapping[str, Any]] = ()
