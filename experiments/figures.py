"""Shared by the studies' figures: curves with bands over seeds, means with intervals, files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from chord.evaluation.statistics import Estimate, t_interval
from experiments.tables import Row, half

Look = tuple[str, Any, str]
# One style per preset in every figure: Okabe and Ito's colours, dashes, a marker.
LOOKS: Mapping[str, Look] = {
    "sft": ("#D55E00", "-", "o"),
    "rl": ("#0072B2", "--", "s"),
    "sft_then_rl": ("#CC79A7", "-.", "D"),
    "chord_mu": ("#009E73", "-", "^"),
    "chord_phi": ("#E69F00", ":", "v"),
}
OTHERS = (("#000000", "--", "P"), ("#56B4E9", "-.", "X"), ("#8C6D1F", ":", "p"))


def looks(presets: Iterable[str]) -> dict[str, Look]:
    """Return colour, dashes and marker of each preset."""
    presets = list(dict.fromkeys(presets))
    others = iter(OTHERS)
    return {name: LOOKS[name] if name in LOOKS else next(others) for name in presets}


def followed(rows: Sequence[Row], curves: Sequence[Row], score: str) -> dict[int, list[float]]:
    """A score of these runs by step, for the steps that all of them have."""
    paths = {row["path"] for row in rows}
    found: dict[int, list[float]] = {}
    for row in curves:
        if row["path"] in paths and row[score] != "":
            found.setdefault(int(row["step"]), []).append(float(row[score]))
    return {step: values for step, values in sorted(found.items()) if len(values) == len(paths)}


def draw_band(
    axes: Axes, series: Mapping[int, Sequence[float]], *, scale: float = 1.0, **style: Any
) -> None:
    """Draw the mean over seeds as a line and its 95 % interval as a band."""
    if not series:
        return
    estimates = [t_interval(values) for values in series.values()]
    steps = np.array(list(series))
    mean, low, high = (
        scale * np.array([getattr(each, name) for each in estimates])
        for name in ("mean", "low", "high")
    )
    axes.plot(steps, mean, linewidth=1.6, **style)
    axes.fill_between(steps, low, high, color=style["color"], alpha=0.18, linewidth=0)


def draw_interval(axes: Axes, found: Estimate, height: float, **style: Any) -> None:
    """A mean of shares with its horizontal interval, in per cent, at this height."""
    axes.errorbar(
        100 * found.mean,
        height,
        xerr=100 * half(found),
        linestyle="",
        markersize=6,
        capsize=2,
        linewidth=1.2,
        **style,
    )


def key(look: Look, label: str, **style: Any) -> Line2D:
    """Return an entry for a legend."""
    color, dashes, _ = look
    return Line2D([], [], color=color, linestyle=dashes, linewidth=1.8, label=label, **style)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG with 255 colours, which suffice for lines and markers and keep the file small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130)
    Image.open(buffer).convert("RGB").quantize(255, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    size = path.stat().st_size
    assert size < 200_000, f"{path}: {size} bytes"
