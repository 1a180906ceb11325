"""A heat map of schedule by weighting, for sweeps that vary both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chord.compare.canvas import cut, panels, set_title
from chord.compare.maps import Map, find_maps
from chord.compare.model import Comparison
from chord.compare.terminal import estimate_text, is_share
from chord.evaluation.statistics import Estimate

CELLS = 20  # rows and columns at most
WIDE = 6  # with more columns than this, the panels are stacked


def heat_map(comparison: Comparison) -> tuple[Figure | None, str | None]:
    """Draw a panel for each metric and each map of `find_maps`; a metric has one colour scale.

    Returns the figure, or None if there is no map, and a note on what was not drawn.
    """
    maps, note = find_maps(comparison.groups)
    if not maps:
        return None, note
    split = comparison.metrics[0].partition("/")[0]
    known = {name for each in maps for group in each.cells.values() for name in group.final}
    names = [f"{split}/target_accuracy", f"{split}/retained/mean"]
    names = [name for name in names if name in known] or [comparison.metrics[0]]
    if not known.intersection(names):
        return None, f"not drawn: no group of a map has {names[0]}"
    most = min(max(len(each.weightings) for each in maps), CELLS)
    height = sum(0.6 * min(len(each.schedules), CELLS) + 2.2 for each in maps)
    # Metrics are side by side as long as that fits a screen.
    columns = 1 if most > WIDE else len(names)
    rows = len(maps) * len(names) // columns
    width, height = 1.3 * most + 2, height * len(names) / columns
    figure, grid = panels(width * columns, height, rows, columns)
    places = [(each, name) for each in maps for name in names]
    for (each, name), axes in zip(places, grid, strict=True):
        means = [found.mean for one in maps for _, _, found in _estimates(name, one)]
        _cells(axes, name, each, scale=100 if is_share(name) else 1, means=means)
        figure.colorbar(axes.images[0], ax=axes, shrink=0.8)
    caption = "schedule by weighting: mean ± half the 95 % interval, shares in %"
    set_title(figure, comparison, caption, note)
    return figure, note


def _cells(axes: Axes, name: str, each: Map, *, scale: float, means: Sequence[float]) -> None:
    schedules, weightings = each.schedules[:CELLS], each.weightings[:CELLS]
    table = np.full((len(schedules), len(weightings)), np.nan)
    for row, column, estimate in _estimates(name, each):
        table[row, column] = estimate.mean * scale
    low, high = min(means) * scale, max(means) * scale
    axes.imshow(table, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    for row, column, estimate in _estimates(name, each):
        text = estimate_text(estimate, name).replace(" ±", "\n±")
        color = "black" if table[row, column] > (low + high) / 2 else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_facecolor("0.85")
    axes.set_xticks(range(len(weightings)), [cut(w, 18) for w in weightings], rotation=30,
                    ha="right", parse_math=False)  # fmt: skip
    axes.set_yticks(range(len(schedules)), [cut(s, 18) for s in schedules], parse_math=False)
    title = f"{name}\n{cut(each.title)}" if each.title else name
    axes.set_title(title, fontsize=10, parse_math=False)


def _estimates(name: str, each: Map) -> Iterator[tuple[int, int, Estimate]]:
    for row, schedule in enumerate(each.schedules[:CELLS]):
        for column, weighting in enumerate(each.weightings[:CELLS]):
            group = each.cells.get((schedule, weighting))
            if group is not None and name in group.final:
                yield row, column, group.final[name]
