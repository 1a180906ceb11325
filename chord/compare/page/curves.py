"""Curves of a group as mean and band, packed so tightly that a thousand fit into one page."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from chord.compare.model import Curve, Run, RunGroup
from chord.compare.record import LARGEST
from chord.evaluation.statistics import LEVEL
from chord.run.files import FINISHED

METRICS = 8
POINTS = 200
PREFERRED = (
    "alpha", "val/target_accuracy", "val/retained/mean", "val/balance_at_0.5",
    "rollout/reward", "rollout/entropy", "loss/sft", "loss/rl",
)  # fmt: skip
GAP = 65535

Array = np.ndarray[Any, np.dtype[Any]]


def pack(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Pack the curves of up to `METRICS` metrics.

    `grids`: the distinct lists of steps. `metrics`: each has a `name` and, for every group, null or
    [grid, seeds, least, greatest, points]. `points` is base64 of little-endian 16-bit numbers: the
    mean and, with two or more seeds, the lower and the upper end of its 95 % interval, one list
    after the other. 0 is `least`, 65534 is `greatest`, 65535 is a gap. `others`: the names of
    metrics beyond `METRICS`.
    """
    found = {name for group in groups for run in group.runs for name in run.curves}
    names = [name for name in PREFERRED if name in found]
    names += sorted(found.difference(names))
    grids: dict[tuple[int, ...], int] = {}
    metrics = []
    for name in names[:METRICS]:
        rows: list[list[Any] | None] = []
        for group in groups:
            steps, lines, seeds = band([run.curves[name] for run in _drawn(group, name)])
            if not np.isfinite(lines).any():
                rows.append(None)
                continue
            grid = grids.setdefault(tuple(steps.tolist()), len(grids))
            rows.append([grid, seeds, *quantise(lines)])
        if any(rows):
            metrics.append({"name": name, "groups": rows})
    return {"grids": [list(grid) for grid in grids], "metrics": metrics, "others": names[METRICS:]}


def _drawn(group: RunGroup, name: str) -> list[Run]:
    """Finished runs that recorded the metric, or unfinished ones if there are none."""
    runs = [run for run in group.runs if name in run.curves]
    return [run for run in runs if run.status == FINISHED] or runs


def band(curves: Sequence[Curve]) -> tuple[Array, Array, int]:
    """Return steps (N,), lines (1 or 3, N) and number of seeds.

    The lines are the mean and, with two or more seeds, the lower and upper end of its interval, at
    the steps that all curves have. Where one curve is not finite, the lines have a gap. More than
    `POINTS` steps are reduced to that many points, each the mean of neighbouring steps, separately
    for each seed and before the interval is computed. For seeds (1, 3) at a step: mean 2, interval
    2 ± 12.706.
    """
    pairs = [_arrays(curve) for curve in curves]
    pairs = [(steps, values) for steps, values in pairs if len(steps)]
    if not pairs:
        return np.zeros(0, dtype=np.int64), np.zeros((1, 0)), 0
    steps = pairs[0][0]
    for other, _ in pairs[1:]:
        if not np.array_equal(steps, other):
            steps = np.intersect1d(steps, other)
    rows = np.stack([values[np.searchsorted(own, steps)] for own, values in pairs])
    steps, rows = thin(steps, rows)
    mean, seeds = rows.mean(axis=0), len(rows)
    if seeds == 1:
        return steps, mean[None], seeds
    quantile = float(stdtrit(seeds - 1, (1 + LEVEL) / 2))
    half = quantile * rows.std(axis=0, ddof=1) / math.sqrt(seeds)
    return steps, np.stack([mean, mean - half, mean + half]), seeds


def _arrays(curve: Curve) -> tuple[Array, Array]:
    length = min(len(curve.steps), len(curve.values))
    values = np.asarray(curve.values[:length], dtype=np.float64)
    values = np.where(np.abs(values) < LARGEST, values, np.nan)
    steps, first = np.unique(np.asarray(curve.steps[:length], dtype=np.int64), return_index=True)
    return steps, values[first]


def thin(steps: Array, rows: Array, points: int = POINTS) -> tuple[Array, Array]:
    """Reduce steps (N,) and rows (R, N) to at most `points` columns.

    Each column is the mean of the finite values of its steps. Steps (0, 1, 2, 3) with values
    (0, 2, 4, 6), reduced to 2 points, give steps (0, 2) and values (1, 5).
    """
    if len(steps) <= points:
        return steps, rows
    edges = np.linspace(0, len(steps), points + 1).astype(np.int64)
    finite = np.isfinite(rows)
    total = np.add.reduceat(np.where(finite, rows, 0.0), edges[:-1], axis=1)
    count = np.add.reduceat(finite.astype(np.float64), edges[:-1], axis=1)
    middle = (steps[edges[:-1]] + steps[edges[1:] - 1]) // 2
    return middle, np.where(count > 0, total / np.maximum(count, 1), np.nan)


def quantise(lines: Array) -> tuple[float, float, str]:
    """Return the least and the greatest value, and all values as base64 of 16-bit numbers."""
    finite = np.isfinite(lines)
    least, greatest = float(lines[finite].min()), float(lines[finite].max())
    scale = (GAP - 1) / (greatest - least) if greatest > least else 0.0
    numbers = np.where(finite, np.round((np.where(finite, lines, least) - least) * scale), GAP)
    return least, greatest, b64encode(numbers.astype("<u2").tobytes()).decode()
