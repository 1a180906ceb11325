"""Colours, legends, titles and axes that all figures of a comparison share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from chord.compare.model import Comparison, RunGroup

# Okabe and Ito's palette, which is safe for every common kind of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#8C6D1F")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LONGEST = 60

Values = NDArray[np.float64]


def line_style(index: int) -> dict[str, Any]:
    """Return the colour and dashes of line `index`; the first 32 lines all differ."""
    dashes = DASHES[(index // len(COLORS) + index) % len(DASHES)]
    return {"color": COLORS[index % len(COLORS)], "linestyle": dashes, "linewidth": 1.6}


def point_style(index: int) -> dict[str, Any]:
    """Return the colour and marker of point `index`; the first 64 points all differ."""
    marker = MARKERS[(index // len(COLORS) + index) % len(MARKERS)]
    return {"color": COLORS[index % len(COLORS)], "marker": marker}


def panels(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Create a figure outside pyplot's global state; return it and its axes in reading order."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def tidy(axes: Axes, *, steps: bool = True) -> None:
    """Draw a light grid and no frame; with `steps`, label the x axis "train step"."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if steps:
        axes.set_xlabel("train step", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def limit(
    axes: Axes, which: Literal["x", "y"], values: Sequence[Values], *, share: bool = False
) -> None:
    """Fit an axis to the means with some room for intervals; wider intervals are cut off.

    With two seeds Student's t is 12.7, so full-width intervals would dwarf everything else.
    A `share` is shown within [0, 1].
    """
    whole = np.concatenate([each[np.isfinite(each)] for each in values] or [np.array([])])
    if len(whole):
        low, high = float(whole.min()), float(whole.max())
        room = 0.35 * (high - low) or 0.05 * abs(high) or 0.05
        low, high = low - room, high + room
        if share:
            low, high = max(low, -0.02), min(high, 1.02)
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def legend(figure: Figure, handles: Sequence[Line2D], *, columns: int = 3) -> None:
    """Draw the legend below the panels."""
    drawn = figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def set_title(figure: Figure, comparison: Comparison, caption: str, note: str | None) -> None:
    """Set the title, with `note` on a second line. `$` in a name is plain text, not math."""
    first = f"{cut(comparison.title)}: {caption}" if comparison.title else caption
    lines = [first, note] if note else [first]
    figure.suptitle("\n".join(lines), fontsize=11, parse_math=False)


def shown_groups(comparison: Comparison, most: int) -> tuple[list[RunGroup], str | None]:
    """Return at most `most` groups, in their original order, and a note if some are left out.

    The baseline and the groups with the highest first metric are kept.
    """
    groups = list(comparison.groups)
    if len(groups) <= most:
        return groups, None
    metric = comparison.metrics[0]

    def rank(group: RunGroup) -> tuple[bool, float]:
        estimate = group.final.get(metric)
        return group.label == comparison.baseline, estimate.mean if estimate else -np.inf

    kept = {id(group) for group in sorted(groups, key=rank, reverse=True)[:most]}
    note = f"{most} of {len(groups)} groups: the baseline and those with the highest {metric}"
    return [group for group in groups if id(group) in kept], note


def cut(text: str, longest: int = LONGEST) -> str:
    """Shorten a label to fit a figure; matplotlib cannot draw control characters."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
