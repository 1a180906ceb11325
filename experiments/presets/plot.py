"""runs.csv -> presets.png: target against retained skills, a dot for each reporting seed."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HERE = Path(__file__).parent
# Okabe and Ito's palette, which readers with any colour vision can tell apart.
COLOURS = {
    "sft": "#D55E00",
    "rl": "#0072B2",
    "sft_then_rl": "#CC79A7",
    "chord_mu": "#009E73",
    "chord_phi": "#E69F00",
}
MARKERS = dict(zip(COLOURS, "osD^v", strict=True))


def main() -> None:
    """Draw the reporting runs; the base model is the black cross."""
    with (HERE / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["test/target_accuracy"]]
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*place(rows[0], "base/"), "kx", markersize=9, label="base")
    for preset, colour in COLOURS.items():
        points = [place(row) for row in rows if row["choice/experiment"] == preset]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                MARKERS[preset],
                color=colour,
                label=preset,
                alpha=0.85,
            )
    axes.set_xlabel("target: greedy accuracy on the test split, %")
    axes.set_ylabel("retained skills: mean accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(HERE / "presets.png", dpi=150)


def place(row: dict[str, str], model: str = "") -> tuple[float, float]:
    """The position of a run, or of the base that it started from, in per cent."""
    target, retained = (row[f"{model}test/{key}"] for key in ("target_accuracy", "retained/mean"))
    return 100 * float(target), 100 * float(retained)


if __name__ == "__main__":
    main()
