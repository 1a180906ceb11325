"""runs.csv, bases.csv -> map.png and methods.png.

python -m experiments.map.plot
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, NullLocator

from chord.compare.canvas import legend, panels, tidy
from experiments.figures import LOOKS, save
from experiments.map.table import METHODS, NEAR, RETAINED, SCORE, Place, places
from experiments.tables import estimate, half, signed

HERE = Path(__file__).parent
RADIUS, RING = 6, 9.5  # points
TICKS = (0.005, 0.01, 0.03, 0.1, 0.3)


def main() -> None:
    """Both figures."""
    found = places()
    draw_map(found)
    draw_methods([place for place in found if place.size == "default"])


def draw_map(found: Sequence[Place]) -> None:
    """A disc at each base in the leader's colour, and a ring for the methods close to it."""
    figure, (axes,) = panels(8.6, 7, 1, 1)
    axes.set_xscale("log")
    axes.set_xlim(0.0035, 0.9)
    axes.set_ylim(-0.09, max(place.right.high for place in found) + 0.06)
    for place in found:
        intervals(axes, place)
        disc(axes, place)
        _, second = next(iter(place.ahead.items()))
        text = f"{signed(second.estimate)}"
        if place.scores(place.leader).low <= place.base:
            text += ", no gain"
        sizes = "" if place.size == "default" else f", {place.size}"
        text += f"\nbase {place.seed}{sizes}"
        # Most places of base 1 are close to places of base 0.
        left = place.seed == 1 and place.share.mean > 0.01
        axes.annotate(
            text,
            (place.share.mean, place.right.mean),
            xytext=(-RING - 1 if left else RING + 1, 2),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7.5,
        )
    axes.set_xlabel("how often: share of the base's samples in the expert's style")
    axes.set_ylabel("how reliable: share of those samples that are right")
    share_axis(axes)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    tidy(axes, steps=False)
    handles = [
        Line2D([], [], color=LOOKS[name][0], marker="o", linestyle="", markersize=10, label=name)
        for name in METHODS
    ]
    legend(figure, handles, columns=4)
    axes.set_title(
        "Disc: the leader in mean@4. Ring: not significantly behind it (p ≥ .05, Holm) and within "
        f"{100 * NEAR:.0f} points.\nText: lead over the second highest in points, 95 % interval. "
        "Grey: 95 % intervals of the base's two shares.",
        fontsize=9,
    )
    save(figure, HERE / "map.png")


def intervals(axes: Axes, place: Place) -> None:
    """The intervals of the place's own coordinates."""
    share, right = place.share, place.right
    axes.errorbar(
        share.mean,
        right.mean,
        xerr=[[share.mean - share.low], [share.high - share.mean]],
        yerr=[[right.mean - right.low], [right.high - right.mean]],
        color="0.6",
        linewidth=1,
        zorder=1,
    )


def disc(axes: Axes, place: Place) -> None:
    """A disc with a ring of equal parts, of the same size whatever the axes' scales are."""
    part = 360 / max(1, len(place.near))
    for number, name in enumerate(place.near):
        wedge = Outline.wedge(90 + number * part, 90 + (number + 1) * part)
        mark(axes, place, RING, LOOKS[name][0], wedge if part < 360 else "o")
    mark(axes, place, RADIUS + 1.5, "white")
    mark(axes, place, RADIUS, LOOKS[place.leader][0])


def mark(axes: Axes, place: Place, radius: float, color: str, shape: Outline | str = "o") -> None:
    """A mark of this radius at a place."""
    axes.plot(
        place.share.mean,
        place.right.mean,
        marker=shape,
        markersize=2 * radius,
        color=color,
        markeredgewidth=0,
    )


def draw_methods(found: Sequence[Place]) -> None:
    """The four methods against the share, a column for each pre-training seed."""
    seeds = sorted({place.seed for place in found})
    figure, grid = panels(3.6 * len(seeds), 6.2, 2, len(seeds))
    for row, (score, what) in enumerate(
        ((SCORE, "target, mean@4, %"), (RETAINED, "retained skills, mean, %"))
    ):
        for column, seed in enumerate(seeds):
            axes = grid[row * len(seeds) + column]
            own = [place for place in found if place.seed == seed]
            lines(axes, own, score)
            axes.set_xscale("log")
            share_axis(axes)
            axes.set_ylabel(what if column == 0 else "")
            tidy(axes, steps=False)
            if row == 0:
                rights = [100 * place.right.mean for place in own]
                axes.set_title(
                    f"base {seed}: {min(rights):.0f}-{max(rights):.0f} % right in the style"
                    if max(rights)
                    else f"base {seed}: none right in the style",
                    fontsize=10,
                )
            else:
                axes.set_xlabel("base's samples in the expert's style")
        level(grid[row * len(seeds) : (row + 1) * len(seeds)], found, score)
    handles = [
        Line2D([], [], color=color, linestyle=dashes, marker=marker, label=name)
        for name, (color, dashes, marker) in ((name, LOOKS[name]) for name in METHODS)
    ]
    handles.append(Line2D([], [], color="k", linestyle="-", marker="*", label="base"))
    legend(figure, handles, columns=5)
    save(figure, HERE / "methods.png")


def lines(axes: Axes, own: Sequence[Place], score: str) -> None:
    """Means with intervals; the markers of a place are side by side."""
    shares = [place.share.mean for place in own]
    base = [100 * float(place.runs[METHODS[0]][0][f"base/{score}"]) for place in own]
    axes.plot(shares, base, "k*-", linewidth=1, markersize=8)
    for number, method in enumerate(METHODS):
        color, dashes, marker = LOOKS[method]
        values = [estimate(place.runs[method], score) for place in own]
        axes.errorbar(
            [share * 1.07 ** (number - 1.5) for share in shares],
            [100 * each.mean for each in values],
            yerr=[100 * half(each) for each in values],
            color=color,
            linestyle=dashes,
            marker=marker,
            markersize=5,
            linewidth=1.3,
            capsize=2,
        )


def level(row: Sequence[Axes], found: Sequence[Place], score: str) -> None:
    """One scale for a row of panels, set by the means: intervals of few seeds can exceed it."""
    means = [100 * estimate(place.runs[name], score).mean for place in found for name in METHODS]
    means += [100 * float(place.runs[METHODS[0]][0][f"base/{score}"]) for place in found]
    room = 0.12 * (max(means) - min(means))
    for axes in row:
        axes.set_ylim(min(means) - room, min(max(means) + room, 100.5))


def share_axis(axes: Axes) -> None:
    """Shares in per cent on a logarithmic axis."""
    axes.set_xticks(TICKS)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


if __name__ == "__main__":
    main()
