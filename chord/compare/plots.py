"""The figures of a comparison: curves with bands, alpha, target against retained, a heat map.

Groups never differ by colour alone: lines also have dashes, points have markers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from chord.compare.canvas import (
    LONGEST,
    Values,
    cut,
    legend,
    limit,
    line_style,
    panels,
    point_style,
    set_title,
    shown_groups,
    tidy,
)
from chord.compare.heat_map import heat_map
from chord.compare.model import Comparison, Run, RunGroup
from chord.compare.statistics import mean_interval
from chord.evaluation.statistics import Estimate, t_quantile
from chord.run.plots import smooth

LINES, POINTS = 8, 24  # with more groups a figure is hard to read
PANELS = {
    "alpha": "alpha: share of SFT",
    "rollout/reward": "rollout reward",
    "val/target_accuracy": "validation: target",
    "val/retained/mean": "validation: retained skills, mean",
    "loss/sft": "SFT loss",
    "loss/rl": "RL loss",
    "rollout/entropy": "policy entropy, nats",
    "rollout/expert_style": "rollouts in the expert's style",
}
_SHARES = ("alpha", "rollout/expert_style", "val/target_accuracy", "val/retained/mean")
_SMOOTHED = ("rollout/reward", "loss/sft", "loss/rl", "rollout/entropy", "rollout/expert_style")


@dataclass(frozen=True)
class Spread:
    """Mean and 95 % interval over a group's seeds, at each step that all of them have."""

    steps: Values
    mean: Values
    half: Values
    n: int


def write_plots(comparison: Comparison, out: Path) -> tuple[list[Path], list[str]]:
    """Write the figures into `out`; return their paths and notes on what was not drawn."""
    drawings: dict[str, Callable[[Comparison], tuple[Figure | None, str | None]]] = {
        "curves": curves,
        "alpha": alphas,
        "scatter": scatter,
        "heatmap": heat_map,
    }
    paths, notes = [], []
    for name, draw in drawings.items():
        figure, note = draw(comparison)
        if figure is not None:
            path = out / f"{name}.png"
            with warnings.catch_warnings():
                # Characters that the font lacks are drawn as boxes.
                warnings.filterwarnings("ignore", message="Glyph .* missing from font")
                figure.savefig(path)
            paths.append(path)
        if note is not None:
            notes.append(f"{name}.png: {note}")
    return paths, notes


def band(runs: Sequence[Run], metric: str) -> Spread | None:
    """Return mean ± t s / √n at the steps that all runs with this curve share; None if none.

    Two runs with values 1 and 3 at a step give 2 ± 12.7062 · √2 / √2.
    """
    found = [run.curves[metric] for run in runs if metric in run.curves]
    if not found:
        return None
    common = sorted(set(found[0].steps).intersection(*(curve.steps for curve in found[1:])))
    tables = [dict(zip(curve.steps, curve.values, strict=True)) for curve in found]
    values = np.array([[table[step] for step in common] for table in tables], dtype=np.float64)
    if not common:
        return None
    n = len(found)
    spread = values.std(axis=0, ddof=1) if n > 1 else np.zeros(len(common))
    half = t_quantile(n - 1) * spread / np.sqrt(n) if n > 1 else spread
    return Spread(np.array(common, dtype=np.float64), values.mean(axis=0), half, n)


def curves(comparison: Comparison) -> tuple[Figure | None, str | None]:
    """Draw one panel per metric, with a line and a band for each group.

    A metric with a single value in every run has no panel. Returns the figure, or None if there is
    no curve, and a note on what was not drawn.
    """
    groups, note = shown_groups(comparison, LINES)
    names = [name for name in PANELS if any(_is_line(r, name) for g in groups for r in g.runs)]
    if not names:
        return None, "no run has a curve"
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, grid = panels(4.2 * columns, 3.2 * rows + 0.3 * len(groups), rows, columns)
    for name, axes in zip(names, grid, strict=False):
        axes.set_title(PANELS[name], fontsize=10)
        means = [
            _draw_band(axes, band(group.runs, name), index, name)
            for index, group in enumerate(groups)
        ]
        limit(axes, "y", [each for each in means if each is not None], share=name in _SHARES)
        tidy(axes)
    for axes in grid[len(names) :]:
        axes.remove()
    handles = [
        Line2D([], [], **line_style(index), label=cut(group.label))
        for index, group in enumerate(groups)
    ]
    legend(figure, handles)
    caption = "lines: means over seeds, noisy ones smoothed; bands: 95 % intervals if n > 2"
    set_title(figure, comparison, caption, note)
    return figure, note


def alphas(comparison: Comparison) -> tuple[Figure | None, str | None]:
    """Draw alpha over train steps; groups with the same alpha share a line."""
    found: dict[bytes, tuple[Spread, list[RunGroup]]] = {}
    for group in comparison.groups:
        line = band(group.runs, "alpha")
        if line is not None:
            key = line.steps.tobytes() + np.round(line.mean, 9).tobytes()
            found.setdefault(key, (line, []))[1].append(group)
    if not found:
        return None, "no run has a curve of alpha"
    lines = list(found.values())
    note = f"the first {POINTS} of {len(lines)} different alphas" if len(lines) > POINTS else None
    figure, (axes,) = panels(9, 4.5 + 0.25 * min(len(lines), POINTS), 1, 1)
    handles = []
    for index, (line, groups) in enumerate(lines[:POINTS]):
        _draw_band(axes, line, index, "alpha")
        handles.append(Line2D([], [], **line_style(index), label=_together(groups)))
    axes.set(ylim=(-0.02, 1.02), xlabel="train step", ylabel="alpha: share of SFT")
    tidy(axes)
    legend(figure, handles, columns=2)
    set_title(figure, comparison, "alpha", note)
    return figure, note


def _together(groups: Sequence[RunGroup]) -> str:
    """The labels of groups, as many as fit a legend: `hpt, luffy and 6 more`."""
    named = cut(groups[0].label)
    for count, group in enumerate(groups[1:], start=1):
        if len(named) + len(group.label) > LONGEST:
            return f"{named} and {len(groups) - count} more"
        named += f", {cut(group.label)}"
    return named


def scatter(comparison: Comparison) -> tuple[Figure | None, str | None]:
    """Plot target accuracy against retained skills: runs as dots, groups as means with intervals.

    Returns the figure, or None if no run has both, and a note on what was not drawn.
    """
    split = comparison.metrics[0].partition("/")[0]
    kept, learnt = f"{split}/retained/mean", f"{split}/target_accuracy"
    chosen, note = shown_groups(comparison, POINTS)
    points = {
        group.label: [
            (run.final[kept], run.final[learnt])
            for run in group.runs
            if kept in run.final and learnt in run.final
        ]
        for group in chosen
    }
    points = {label: runs for label, runs in points.items() if runs}
    if not points:
        return None, f"not drawn: no run has both {learnt} and {kept}"
    figure, (axes,) = panels(8.5, 6 + 0.22 * len(points), 1, 1)
    handles, seen = [], [np.array(runs) for runs in points.values()]
    for index, (label, dots) in enumerate(zip(points, seen, strict=True)):
        style = point_style(index)
        axes.plot(dots[:, 0], dots[:, 1], **style, linestyle="", markersize=3, alpha=0.4)
        right, up = (mean_interval(dots[:, axis].tolist()) for axis in (0, 1))
        axes.errorbar(
            right.mean, up.mean, xerr=_sides(right), yerr=_sides(up), **style,
            markersize=8, markeredgecolor="white", elinewidth=0.8,
        )  # fmt: skip
        handles.append(Line2D([], [], **style, linestyle="", label=cut(label)))
    if kept in comparison.base and learnt in comparison.base:
        base = np.array([[comparison.base[kept], comparison.base[learnt]]])
        axes.plot(base[:, 0], base[:, 1], "*", color="0.4", markersize=14)
        handles.append(Line2D([], [], marker="*", color="0.4", linestyle="", markersize=11,
                              label="before training"))  # fmt: skip
        seen.append(base)
    limit(axes, "x", [dots[:, 0] for dots in seen], share=True)
    limit(axes, "y", [dots[:, 1] for dots in seen], share=True)
    axes.set(xlabel=f"{split}: retained skills, mean", ylabel=f"{split}: target, greedy")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1))
    tidy(axes, steps=False)
    legend(figure, handles, columns=2)
    caption = "target against retained skills; bars: 95 % intervals over seeds"
    set_title(figure, comparison, caption, note)
    return figure, note


def _is_line(run: Run, name: str) -> bool:
    """Whether a metric has more than one value; the tables show single ones."""
    return name in run.curves and len(run.curves[name].steps) > 1


def _draw_band(axes: Axes, line: Spread | None, index: int, name: str) -> Values | None:
    """Draw a band; return its means, smoothed if the drawn line is."""
    if line is None:
        return None
    noisy = name in _SMOOTHED
    mean, half = (smooth(line.mean), smooth(line.half)) if noisy else (line.mean, line.half)
    # Train step t lasts from t to t + 1, so a switch of alpha is drawn as a vertical jump.
    whole = name == "alpha"
    style = {**line_style(index), "drawstyle": "steps-post" if whole else "default"}
    axes.plot(line.steps, mean, **style)
    # With two seeds t is 12.7: their bands would cover everything else.
    if line.n > 2 and half.any():
        axes.fill_between(
            line.steps, mean - half, mean + half, step="post" if whole else None,
            color=style["color"], alpha=0.15, linewidth=0,
        )  # fmt: skip
    return mean


def _sides(estimate: Estimate) -> list[list[float]]:
    return [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
