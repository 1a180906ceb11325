"""What a step leaves for loggers, callbacks and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a module leaves after a train step, for loggers, callbacks and files.

    `step` counts from 0; `metrics` are deterministic numbers, `timings` are wall-clock seconds.
    """

    step: int
    metrics: Mapping[str, Any]
    timings: Mapping[str, Any] = field(default_factory=dict)
    completions: Sequence[Mapping[str, Any]] = ()
