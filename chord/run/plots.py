"""A run at one glance: `curves.png` from the run directory's JSON lines.

Imitation is blue, reinforcement is orange, everywhere in the picture; the palette is Okabe and
Ito's, whose colours stay apart for every common kind of colour blindness, and no line is told
from another by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from chord.io.writing import whole_file
from chord.run.files import EVALUATIONS, METRICS, Row, read_rows

BLUE, ORANGE, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
SKILLS = (("#CC79A7", "s"), ("#E69F00", "^"), ("#56B4E9", "v"), ("#8C6D1F", "D"), ("#7F7F7F", "P"))

Curve = tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]


def plot_run(run_dir: str | Path, *, title: str | None = None) -> Path:
    """Draw alpha, rollout reward, both losses, and the validation accuracies over train steps.

    Reads `metrics.jsonl` and `evaluations.jsonl`, writes `curves.png` beside them and returns its
    path. A panel without data says so. Uses no global matplotlib state.
    """
    run_dir = Path(run_dir)
    train = read_rows(run_dir / METRICS)
    evaluations = read_rows(run_dir / EVALUATIONS)
    # The base may be evaluated last; it is where the trained model was at step 0.
    by_step = {row["step"]: row for row in evaluations if row.get("split") == "val"}
    val = [by_step[step] for step in sorted(by_step)]

    figure = Figure(figsize=(13, 5.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic(
        [["alpha", "sft", "accuracy"], ["reward", "rl", "accuracy"]], width_ratios=[1, 1, 1.5]
    )
    _alpha(panels["alpha"], curve(train, "alpha"))
    _noisy(panels["reward"], curve(train, "rollout/reward"), ORANGE, "Rollout reward (mean)")
    _trained(panels["reward"], curve(train, "trained/reward"))
    if panels["reward"].dataLim.y0 >= 0:  # penalties, or a scale of its own, go below
        panels["reward"].set_ylim(bottom=0)
    _noisy(panels["sft"], curve(train, "loss/sft"), BLUE, "Imitation loss")
    _expert_nll(panels["sft"], curve(train, "expert/nll"))
    _noisy(panels["rl"], curve(train, "loss/rl"), ORANGE, "RL loss")
    _accuracy(panels["accuracy"], val)
    steps = [row["step"] for row in train] + [row["step"] for row in val]
    for name, axes in panels.items():
        axes.set_xlim(0, max([*steps, 1]))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if name in ("reward", "rl", "accuracy"):
            axes.set_xlabel("train step")
    # Names are text: two dollar signs are no formula.
    figure.suptitle(title or run_dir.resolve().name, fontsize=12, parse_math=False)
    path = run_dir / "curves.png"
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
    return path


def curve(rows: Sequence[Row], key: str) -> Curve:
    """Steps and values of `key` where it is logged, in order; null is NaN, which draws a gap."""
    found = [(row["step"], row[key]) for row in rows if key in row]
    steps = np.array([step for step, _ in found], dtype=np.float64)
    return steps, np.array([value for _, value in found], dtype=np.float64)


def smooth(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, Any]:
    """Centred mean over about a twentieth of the run (window cut at both ends); NaN is left out.

    `smooth` of 40 values has a window of 3: [0, 3, 0, ...] gives [1.5, 1, 1, ...].
    """
    half = max(len(values) // 40, 1)
    weights = np.ones(2 * half + 1)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), weights)[half:-half]
    count = np.convolve(finite.astype(np.float64), weights)[half:-half]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _alpha(axes: Axes, alpha: Curve) -> None:
    axes.set_title("alpha: share of imitation", fontsize=10)
    axes.set_ylim(0, 1)
    steps, values = alpha
    if not _has_data(axes, alpha):
        return
    # Train step t lasts from t to t + 1; a switch is a wall and not a slope.
    steps, values = np.append(steps, steps[-1] + 1), np.append(values, values[-1])
    for low, high, color, label in ((0, values, BLUE, "imitation"), (values, 1, ORANGE, "RL")):
        axes.fill_between(
            steps, low, high, step="post", color=color, alpha=0.22, linewidth=0, label=label
        )
    axes.plot(steps, values, color=BLUE, drawstyle="steps-post")
    axes.legend(loc="upper right", fontsize=8.5, framealpha=0.85)


def _noisy(axes: Axes, data: Curve, color: str, title: str) -> None:
    axes.set_title(title, fontsize=10)
    if _has_data(axes, data):
        steps, values = data
        axes.plot(steps, values, color=color, alpha=0.3, linewidth=0.8)
        axes.plot(steps, smooth(values), color=color, linewidth=1.8)


def _trained(axes: Axes, data: Curve) -> None:
    """With dynamic sampling or an expert's help: what is trained on earns more than the policy."""
    if np.isfinite(data[1]).any():
        axes.set_title("Rollout reward (mean; dashed: of what is trained on)", fontsize=10)
        axes.plot(data[0], smooth(data[1]), color="0.35", linestyle="--", linewidth=1.2)


def _expert_nll(axes: Axes, nll: Curve) -> None:
    """On a scale of its own: weights that grow with p can raise the loss while the model learns."""
    if np.isfinite(nll[1]).any():
        axes.set_title("Imitation loss (weighted; dashed, right: expert nll)", fontsize=10)
        right = axes.twinx()
        right.plot(nll[0], smooth(nll[1]), color="0.35", linestyle="--", linewidth=1.2)
        right.spines[["top"]].set_visible(False)


def _accuracy(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Validation", fontsize=10)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    target = curve(rows, "val/target_accuracy")
    if not _has_data(axes, target):
        return
    prefix = "val/retained/"
    keys = sorted({key for row in rows for key in row if key.startswith(prefix)})
    skills = [key for key in keys if key not in (prefix + "mean", prefix + "min")]
    for index, key in enumerate(skills):
        color, marker = SKILLS[index % len(SKILLS)]
        _line(axes, curve(rows, key), key.removeprefix(prefix), color, marker, width=0.9)
    kept = curve(rows, prefix + "mean")
    _line(axes, kept, "retained skills, mean", GREEN, "o", width=2.2)
    _line(axes, target, "target", BLACK, "*", width=2.6)
    axes.set_title(
        f"Validation: {_change('target', target)}, {_change('retained', kept)}", fontsize=10
    )
    axes.legend(loc="best", ncols=2, fontsize=8.5, framealpha=0.85)


def _change(name: str, data: Curve) -> str:
    values = data[1][np.isfinite(data[1])]
    return f"{name} {values[0]:.0%} → {values[-1]:.0%}" if len(values) else f"no {name}"


def _line(axes: Axes, data: Curve, label: str, color: str, marker: str, *, width: float) -> None:
    steps, values = data
    if not len(steps):
        return
    size = 4 if width < 2 else 6
    # The first and last marker lie on the frame and are drawn whole.
    axes.plot(steps, values, color=color, marker=marker, markersize=size, linewidth=width,
              label=label, clip_on=False)  # fmt: skip


def _has_data(axes: Axes, data: Curve) -> bool:
    found = bool(np.isfinite(data[1]).any())
    if not found:
        axes.text(0.5, 0.5, "not in this run", ha="center", va="center", color="0.5",
                  transform=axes.transAxes)  # fmt: skip
        axes.set_yticks([])
    return found
