"""The picture of a run: what is read for it, and that every kind of run can be drawn."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from chord.run.plots import curve, plot_run, smooth
from chord.run.recorder import Recorder

ALPHAS: dict[str, Callable[[int], float]] = {
    "mixed": lambda step: 1 - step / 20,
    "imitation only": lambda step: 1.0,
    "reinforcement only": lambda step: 0.0,
    "one after the other": lambda step: float(step < 10),
}


def write_run(path: Path, alpha: Callable[[int], float], steps: int = 20) -> None:
    recorder = Recorder(path)
    for step in range(steps):
        share = alpha(step)
        row = {"alpha": share}
        row |= {"loss/sft": 0.1, "expert/nll": 1 / (step + 1)} if share > 0 else {}
        row |= {"loss/rl": -0.01, "rollout/reward": step / steps} if share < 1 else {}
        recorder.train(step, row)
    for step in (0, 10, 20):
        skills = {"val/retained/[sort]": 0.9, "val/retained/$reverse": 0.8}
        totals = {"val/retained/mean": 0.85, "val/retained/min": 0.8}
        row = {"val/target_accuracy": 0.3 + step / 100, **skills, **totals}
        recorder.evaluation(step, {"split": "val", "model": "trained", **row})


def size(png: Path) -> tuple[int, int]:
    """Width and height from the header: 8 bytes of signature, 8 of chunk, then both."""
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.mark.parametrize("name", ALPHAS)
def test_every_kind_of_run_is_drawn(name: str, tmp_path: Path) -> None:
    write_run(tmp_path, ALPHAS[name])
    path = plot_run(tmp_path, title="a $run_1$ [x]")
    assert path == tmp_path / "curves.png"
    # 13 x 5.5 inches at 120 dots.
    assert size(path) == (1560, 660)


@pytest.mark.parametrize(("reward", "bottom"), [(0.5, 0.0), (-3.0, -3.0)])
def test_rewards_below_0_are_inside_their_panel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: float, bottom: float
) -> None:
    bounds = {}

    def look(figure: Figure, path: Path, **_: object) -> None:
        path.touch()
        bounds.update({axes.get_title(): axes.get_ylim() for axes in figure.axes})

    monkeypatch.setattr(Figure, "savefig", look)
    recorder = Recorder(tmp_path)
    for step in range(3):
        recorder.train(step, {"alpha": 0.0, "rollout/reward": reward})
    plot_run(tmp_path)
    low, high = bounds["Rollout reward (mean)"]
    assert low <= bottom < high
    assert (low == 0) == (reward > 0)


def test_a_run_killed_before_its_first_row_is_drawn_too(tmp_path: Path) -> None:
    assert size(plot_run(tmp_path)) == (1560, 660)


def test_a_run_of_one_step_with_a_loss_that_is_not_finite_is_drawn(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.train(0, {"alpha": 0.5, "loss/sft": float("nan"), "loss/rl": 0.1})
    assert size(plot_run(tmp_path)) == (1560, 660)


def test_a_curve_has_the_steps_where_its_key_is_and_nan_for_null() -> None:
    rows = [{"step": 0, "x": 1.0}, {"step": 1}, {"step": 2, "x": None}]
    steps, values = curve(rows, "x")
    assert steps.tolist() == [0, 2]
    assert values[0] == 1
    assert np.isnan(values[1])


def test_smoothing_is_a_centred_mean_that_leaves_out_what_is_not_finite() -> None:
    # Up to 79 values the window is 3, cut at the ends: (0+3)/2, (0+3+6)/3, (3+6)/2.
    assert smooth(np.array([0.0, 3.0, 6.0])).tolist() == [1.5, 3.0, 4.5]
    # The middle is left out: 2/1, (2+4)/2, 4/1.
    assert smooth(np.array([2.0, np.nan, 4.0])).tolist() == [2.0, 3.0, 4.0]
    # 80 values: 80 // 40 = 2 on either side. Position 40 sees 38..42.
    assert smooth(np.arange(80.0) ** 2)[40] == (38**2 + 39**2 + 40**2 + 41**2 + 42**2) / 5
