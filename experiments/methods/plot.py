"""runs.csv -> methods.png: every preset's target, retained skills and response style.

python -m experiments.methods.plot
"""

from __future__ import annotations

from pathlib import Path

from chord.compare.canvas import panels, tidy
from experiments.figures import draw_interval, save
from experiments.tables import estimate, grouped, read

HERE = Path(__file__).parent
# The scores that are drawn, and the base's, which is in the README and in no row.
SHOWN = {
    "test/target_accuracy": ("target, greedy, %", 23.2),
    "test/retained/mean": ("retained skills, mean, %", 98.6),
    "test/expert_style": ("samples in the expert's style, %", 2.5),
}


def main() -> None:
    """A panel for each score, a line for each preset, the highest target on top."""
    presets = grouped(read(HERE / "runs.csv"), lambda row: row["choice/experiment"])
    target = next(iter(SHOWN))
    names = sorted(presets, key=lambda name: estimate(presets[name], target).mean)
    figure, grid = panels(11, 5.4, 1, len(SHOWN))
    for axes, (score, (what, base)) in zip(grid, SHOWN.items(), strict=True):
        for height, name in enumerate(names):
            found = estimate(presets[name], score)
            draw_interval(axes, found, height, color="#0072B2", marker="o")
        axes.axvline(base, color="k", linestyle=":", linewidth=1)
        axes.set_title(what, fontsize=10)
        axes.set_yticks(range(len(names)), names if axes is grid[0] else [""] * len(names))
        axes.set_ylim(-0.7, len(names) - 0.3)
        tidy(axes, steps=False)
    save(figure, HERE / "methods.png")


if __name__ == "__main__":
    main()
