"""runs.csv, curves.csv -> curves.png and scatter.png.

python -m experiments.baseline.plot
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from chord.compare.canvas import legend, panels, tidy
from experiments.baseline.table import place, sweep
from experiments.figures import Look, draw_band, followed, key, looks, save
from experiments.tables import Row, estimate, grouped, half, read

HERE = Path(__file__).parent
PANELS = {
    "val/target_accuracy": ("target, greedy, %", 100),
    "val/target_mean4": ("reward: target at temperature 1, %", 100),
    "val/retained/mean": ("retained skills, mean, %", 100),
    "val/expert_style": ("samples in the expert's style, %", 100),
    "val/entropy": ("entropy of the samples, nats per token", 1),
    "val/expert_nll": ("expert's responses: nll, nats per token", 1),
}


def main() -> None:
    """Both figures."""
    rows = sorted(read(HERE / "runs.csv"), key=place)
    steps = [row for row in rows if sweep(row).startswith("final")]
    tokens = [row for row in rows if sweep(row).startswith("tokens")]
    draw_curves(steps, read(HERE / "curves.csv"))
    draw_scatter(steps, tokens)


def draw_curves(rows: Sequence[Row], curves: Sequence[Row]) -> None:
    """Validation scores during training, a band for each preset."""
    figure, grid = panels(12, 7.4, 2, 3)
    groups = grouped(rows, preset)
    shown = looks(groups)
    for axes, (score, (title, scale)) in zip(grid, PANELS.items(), strict=True):
        axes.set_title(title, fontsize=10)
        for name, own in groups.items():
            color, dashes, _ = shown[name]
            series = followed(own, curves, score)
            draw_band(axes, series, scale=scale, color=color, linestyle=dashes)
        tidy(axes)
    legend(figure, [key(look, name) for name, look in shown.items()], columns=4)
    save(figure, HERE / "curves.png")


def draw_scatter(steps: Sequence[Row], tokens: Sequence[Row]) -> None:
    """Target against retained skills: filled marks at equal steps, open ones at equal tokens."""
    figure, (axes,) = panels(7.2, 5, 1, 1)
    shown = looks(map(preset, steps))
    # The base is far to the left of them all.
    target, retained = (100 * float(steps[0][f"base/{name}"]) for name in AXES)
    axes.axhline(retained, color="k", linestyle=":", linewidth=1)
    for rows, filled in ((steps, True), (tokens, False)):
        for name, own in grouped(rows, preset).items():
            cross(axes, own, shown[name], filled=filled)
    axes.set_xlabel("target: greedy accuracy on the test split, %")
    axes.set_ylabel("retained skills: mean accuracy, %")
    tidy(axes, steps=False)
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=name)
        for name, (color, _, marker) in shown.items()
    ]
    handles += [
        Line2D([], [], color="k", linestyle=":", label=f"base (target {target:.1f})"),
        Line2D([], [], color="0.4", marker="o", linestyle="", label="equal steps"),
        Line2D(
            [], [], color="0.4", marker="o", linestyle="", fillstyle="none", label="equal tokens"
        ),
    ]
    legend(figure, handles, columns=4)
    save(figure, HERE / "scatter.png")


AXES = ("test/target_accuracy", "test/retained/mean")


def cross(axes: Axes, rows: Sequence[Row], look: Look, *, filled: bool) -> None:
    """A group's mean with the intervals of both its scores."""
    color, _, marker = look
    x, y = (estimate(rows, name) for name in AXES)
    axes.errorbar(
        100 * x.mean,
        100 * y.mean,
        xerr=100 * half(x),
        yerr=100 * half(y),
        color=color,
        marker=marker,
        markersize=8,
        markerfacecolor=color if filled else "white",
        capsize=2,
        linewidth=1,
    )


def preset(row: Row) -> str:
    """A run's preset."""
    return row["choice/experiment"]


if __name__ == "__main__":
    main()
