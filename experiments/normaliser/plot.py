"""runs.csv -> normaliser.png: each preset's scores under the three normalisers.

python -m experiments.normaliser.plot
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.lines import Line2D

from chord.compare.canvas import legend, panels, tidy
from experiments.figures import draw_interval, save
from experiments.normaliser.table import PRESETS, VARIANTS, cells
from experiments.tables import estimate, read

HERE = Path(__file__).parent
SHOWN = {
    "test/target_mean4": "target, mean@4, %",
    "test/retained/mean": "retained skills, mean, %",
    "test/expert_style": "samples in the expert's style, %",
}
# Black is right; from there down to the smallest piece.
LOOKS = {"64": ("#000000", "o"), "8": ("#0072B2", "s"), "1": ("#D55E00", "^")}
APART = 0.22


def main() -> None:
    """A panel for each score, a band of three means for each preset."""
    runs = cells(read(HERE / "runs.csv"))
    figure, grid = panels(11, 3.6, 1, len(SHOWN))
    for axes, (score, what) in zip(grid, SHOWN.items(), strict=True):
        for row, preset in enumerate(PRESETS):
            for place, (size, (color, marker)) in enumerate(LOOKS.items(), start=-1):
                found = estimate(runs[preset, size], score)
                draw_interval(axes, found, row + APART * place, color=color, marker=marker)
        axes.set_title(what, fontsize=10)
        axes.set_yticks(range(len(PRESETS)), PRESETS if axes is grid[0] else [""] * len(PRESETS))
        axes.set_ylim(len(PRESETS) - 0.5, -0.5)
        tidy(axes, steps=False)
        axes.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=VARIANTS[size])
        for size, (color, marker) in LOOKS.items()
    ]
    legend(figure, handles)
    save(figure, HERE / "normaliser.png")


if __name__ == "__main__":
    main()
