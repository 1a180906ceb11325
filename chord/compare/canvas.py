"""What the pictures of a comparison share: colours, legends, titles, axes."""

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

# Okabe and Ito's, which stay apart for every common kind of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#8C6D1F")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LONGEST = 60

Values = NDArray[np.float64]


def line_style(index: int) -> dict[str, Any]:
    """A line's colour and dashes: no two of 32 are the same."""
    dashes = DASHES[(index // len(COLORS) + index) % len(DASHES)]
    return {"color": COLORS[index % len(COLORS)], "linestyle": dashes, "linewidth": 1.6}


def point_style(index: int) -> dict[str, Any]:
    """A point's colour and marker: no two of 64 are the same."""
    marker = MARKERS[(index // len(COLORS) + index) % len(MARKERS)]
    return {"color": COLORS[index % len(COLORS)], "marker": marker}


def panels(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure without global state, and its axes in reading order."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def tidy(axes: Axes, *, steps: bool = True) -> None:
    """A light grid and no frame; `steps`: the x axis counts train steps."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if steps:
        axes.set_xlabel("train step", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def limit(
    axes: Axes, which: Literal["x", "y"], values: Sequence[Values], *, share: bool = False
) -> None:
    """Show the means with room for intervals; wider intervals leave the picture.

    With two seeds Student's t is 12.7: intervals of their full width would leave nothing to see.
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
    """Below the panels."""
    drawn = figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


def set_title(figure: Figure, comparison: Comparison, caption: str, note: str | None) -> None:
    """What is compared, what is drawn, and what is not. Names are text: $ is no formula."""
    first = f"{cut(comparison.title)}: {caption}" if comparison.title else caption
    lines = [first, note] if note else [first]
    figure.suptitle("\n".join(lines), fontsize=11, parse_math=False)


def shown_groups(comparison: Comparison, most: int) -> tuple[list[RunGroup], str | None]:
    """At most so many groups, the baseline and the highest in the first metric, in their order."""
    groups = list(comparison.groups)
    if len(groups) <= most:
        return groups, None
    metric = comparison.metrics[0]

    def rank(group: RunGroup) -> tuple[bool, float]:
        estimate = group.final.get(metric)
        return group.label == comparison.baseline, estimate.mean if estimate else -np.inf

    kept = {id(group) for group in sorted(groups, key=rank, reverse=True)[:most]}
    note = f"{most} of {len(groups)} groups: the baseline and those highest in {metric}"
    return [group for group in groups if id(group) in kept], note


def cut(text: str, longest: int = LONGEST) -> str:
    """A label as a picture can hold it; matplotlib draws no control characters."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
