"""Schedule by weighting as a heat map, where a sweep varies both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chord.compare.canvas import cut, panels, set_title
from chord.compare.model import Comparison, Estimate, Group
from chord.compare.terminal import estimate_text, is_share

CELLS = 20  # rows and columns at most
WIDE = 6  # columns from which panels stand one above the other

Pairs = Mapping[tuple[str, str], Sequence[Group]]


def heat_map(comparison: Comparison) -> tuple[Figure | None, str | None]:
    """Schedule by weighting, where the groups vary both and each pair is one group."""
    pairs: dict[tuple[str, str], list[Group]] = {}
    for group in comparison.groups:
        choices = group.runs[0].choices
        pair = choices.get("schedule", "-"), choices.get("weighting", "-")
        pairs.setdefault(pair, []).append(group)
    schedules = list(dict.fromkeys(schedule for schedule, _ in pairs))
    weightings = list(dict.fromkeys(weighting for _, weighting in pairs))
    if len(schedules) < 2 or len(weightings) < 2:
        return None, None
    if len(pairs) < 4 or len(pairs) * 2 < len(schedules) * len(weightings):
        return None, "not drawn: most pairs of schedule and weighting have no run"
    if any(len(groups) > 1 for groups in pairs.values()):
        return None, "not drawn: groups of one schedule and weighting differ in something else"
    schedules, weightings = schedules[:CELLS], weightings[:CELLS]
    split = comparison.metrics[0].partition("/")[0]
    names = [f"{split}/target_accuracy", f"{split}/retained/mean"]
    names = [name for name in names if any(name in g.final for g in comparison.groups)]
    names = names or [comparison.metrics[0]]
    width, height = 1.3 * len(weightings) + 2, 0.6 * len(schedules) + 2
    # Beside each other while that is no wider than a screen.
    rows = len(names) if len(weightings) > WIDE else 1
    columns = len(names) // rows
    figure, grid = panels(width * columns, height * rows, rows, columns)
    for name, axes in zip(names, grid, strict=True):
        _cells(axes, name, pairs, schedules, weightings)
        figure.colorbar(axes.images[0], ax=axes, shrink=0.8)
    caption = "schedule by weighting: mean and half of the 95 % interval, shares in %"
    set_title(figure, comparison, caption, None)
    return figure, None


def _cells(
    axes: Axes,
    name: str,
    pairs: Pairs,
    schedules: Sequence[str],
    weightings: Sequence[str],
) -> None:
    table = np.full((len(schedules), len(weightings)), np.nan)
    for row, column, estimate in _estimates(name, pairs, schedules, weightings):
        table[row, column] = estimate.mean * (100 if is_share(name) else 1)
    axes.imshow(table, cmap="cividis", aspect="auto")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for row, column, estimate in _estimates(name, pairs, schedules, weightings):
        value = table[row, column]
        text = estimate_text(estimate, name).replace(" ±", "\n±")
        color = "black" if value > middle else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_facecolor("0.85")
    axes.set_xticks(range(len(weightings)), [cut(w, 18) for w in weightings], rotation=30,
                    ha="right", parse_math=False)  # fmt: skip
    axes.set_yticks(range(len(schedules)), [cut(s, 18) for s in schedules], parse_math=False)
    axes.set_title(name, fontsize=10, parse_math=False)


def _estimates(
    name: str,
    pairs: Pairs,
    schedules: Sequence[str],
    weightings: Sequence[str],
) -> Iterator[tuple[int, int, Estimate]]:
    for row, schedule in enumerate(schedules):
        for column, weighting in enumerate(weightings):
            for group in pairs.get((schedule, weighting), []):
                if name in group.final:
                    yield row, column, group.final[name]
