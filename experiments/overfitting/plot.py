"""runs.csv, curves.csv -> curves.png: target, likelihood of the expert and retained skills.

python -m experiments.overfitting.plot
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from chord.compare.canvas import legend, panels, tidy
from experiments.figures import draw_band, followed, save
from experiments.overfitting.table import MANNERS, NLL, cells_of
from experiments.tables import read

HERE = Path(__file__).parent
ROWS = {
    "val/target_mean4": ("target, mean@4, %", 100),
    "val/target_accuracy": ("target, greedy, %", 100),
    "val/expert_nll": ("expert's responses: nll, nats per token", 1),
    "val/retained/mean": ("retained skills, mean, %", 100),
}
COLORS = {32: "#D55E00", 128: "#0072B2", 512: "#009E73"}
DASHES: Mapping[float, Any] = {1e-4: "--", 1e-3: "-"}


def main() -> None:
    """A column for each response style, a line for each number of pairs and rate."""
    cells = cells_of(read(HERE / "runs.csv"))
    curves = read(HERE / "curves.csv")
    figure, grid = panels(11, 10, len(ROWS), len(MANNERS))
    for row, (score, (what, scale)) in enumerate(ROWS.items()):
        for column, manner in enumerate(MANNERS):
            axes = grid[row * len(MANNERS) + column]
            for cell, own in cells.items():
                if cell.manner == manner:
                    draw_band(
                        axes,
                        followed(own, curves, score),
                        scale=scale,
                        color=COLORS[cell.pairs],
                        linestyle=DASHES[cell.rate],
                    )
            tidy(axes)
            if score == NLL:
                axes.set_yscale("log")
                axes.set_yticks((0.1, 0.3, 1, 3), ("0.1", "0.3", "1", "3"))
                axes.yaxis.set_minor_locator(NullLocator())
            if row == 0:
                axes.set_title(manner, fontsize=10)
            if row < len(ROWS) - 1:
                axes.set_xlabel("")
            if column == 0:
                axes.set_ylabel(what, fontsize=9)
        level = grid[row * len(MANNERS) : (row + 1) * len(MANNERS)]
        low, high = (f(axes.get_ylim()[i] for axes in level) for i, f in ((0, min), (1, max)))
        for axes in level:
            axes.set_ylim(low, high)
    handles = [
        Line2D(
            [], [], color=COLORS[pairs], linestyle=DASHES[rate], label=f"{pairs} pairs, lr {rate:g}"
        )
        for rate in DASHES
        for pairs in COLORS
        if any((cell.rate, cell.pairs) == (rate, pairs) for cell in cells)
    ]
    legend(figure, handles, columns=6)
    save(figure, HERE / "curves.png")


if __name__ == "__main__":
    main()
