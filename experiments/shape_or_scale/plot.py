"""runs.csv -> heatmaps.png: schedule by weighting, unnormalised and with mean 1.

python -m experiments.shape_or_scale.plot
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from chord.compare.canvas import panels
from experiments.figures import save
from experiments.shape_or_scale.table import SCALES, SCHEDULES, WEIGHTINGS, Cells, cells
from experiments.tables import estimate, half, read

HERE = Path(__file__).parent
SHOWN = {
    "test/target_mean4": "target, mean@4, %",
    "test/retained/mean": "retained skills, mean, %",
}
NAMES = {"none": "weights as they are", "mean1": "normalize=mean1"}


def main() -> None:
    """A column for each score with one colour scale, a row for each normalisation."""
    found = cells(read(HERE / "runs.csv"))
    figure, grid = panels(12, 6.4, len(SCALES), len(SHOWN))
    for column, (score, what) in enumerate(SHOWN.items()):
        means = [100 * estimate(rows, score).mean for rows in found.values()]
        for row, scale in enumerate(SCALES):
            axes = grid[row * len(SHOWN) + column]
            image = draw(axes, found, score, scale, (min(means), max(means)))
            axes.set_title(f"{what}: {NAMES[scale]}", fontsize=10)
            figure.colorbar(image, ax=axes, shrink=0.85)
    save(figure, HERE / "heatmaps.png")


def draw(
    axes: Axes, found: Cells, score: str, scale: str, limits: tuple[float, float]
) -> AxesImage:
    """A cell has its mean and half of the 95 % interval."""
    table = np.full((len(SCHEDULES), len(WEIGHTINGS)), np.nan)
    for row, schedule in enumerate(SCHEDULES):
        for column, weighting in enumerate(WEIGHTINGS):
            own = found.get((schedule, weighting, scale))
            if not own:
                continue
            value = estimate(own, score)
            table[row, column] = 100 * value.mean
            light = 100 * value.mean > sum(limits) / 2
            axes.text(
                column,
                row,
                f"{100 * value.mean:.1f}\n±{100 * half(value):.1f}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="black" if light else "white",
            )
    image = axes.imshow(table, cmap="cividis", aspect="auto", vmin=limits[0], vmax=limits[1])
    axes.set_xticks(range(len(WEIGHTINGS)), WEIGHTINGS)
    axes.set_yticks(range(len(SCHEDULES)), SCHEDULES)
    return image


if __name__ == "__main__":
    main()
