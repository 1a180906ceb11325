"""The panels of `chord.show` as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chord.run.plots import BLACK, BLUE, GREEN, ORANGE, SKILLS
from chord.show.terminal import Panel


def plot_panels(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels of `chord.show` side by side as a PNG."""
    figure = Figure(figsize=(6.5 * len(panels), 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        for index, line in enumerate(panel.lines):
            color = (BLUE, ORANGE, GREEN, BLACK, *(c for c, _ in SKILLS))[index % 9]
            dashes = ("-", "--", "-.", ":")[index % 4]
            axes.plot(
                line.x,
                line.y,
                color=color,
                linestyle=dashes,
                label=line.name,
                drawstyle="steps-post" if line.jumps else "default",
            )
        axes.set(xlim=(panel.left, panel.right), ylim=(0, 1.02 * panel.top), xlabel=panel.x_name)
        axes.set_title("\n".join([panel.title, *panel.notes]), fontsize=9, parse_math=False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if panel.lines:
            axes.legend(fontsize=8.5, framealpha=0.85)
    figure.savefig(path, format="png")
