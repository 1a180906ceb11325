"""Curves of the HTML page: mean and band over seeds, thinned, and packed into 16 bits."""

from __future__ import annotations

import math
from base64 import b64decode
from dataclasses import replace

import numpy as np
from synthetic_comparison import CURVES, group, run, sweep

from chord.compare.model import Curve
from chord.compare.page.curves import POINTS, band, pack, quantise, thin
from chord.run.files import INTERRUPTED


def test_the_band_is_the_t_interval_over_seeds() -> None:
    # Seeds (1, 3): mean 2, standard deviation sqrt 2, t(1) = 12.706205 times sqrt 2 / sqrt 2.
    steps, lines, seeds = band(
        [Curve(steps=[0, 1], values=[1, 4]), Curve(steps=[0, 1], values=[3, 4])]
    )
    assert steps.tolist() == [0, 1]
    assert seeds == 2
    np.testing.assert_allclose(lines, [[2, 4], [-10.706205, 4], [14.706205, 4]], atol=1e-6)


def test_one_seed_has_no_band_and_seeds_share_the_steps_that_all_have() -> None:
    _, lines, seeds = band([Curve(steps=[0, 5], values=[1, 2])])
    assert (lines.tolist(), seeds) == ([[1, 2]], 1)
    steps, lines, _ = band(
        [Curve(steps=[0, 5, 10], values=[1, 2, 3]), Curve(steps=[5, 10, 15], values=[4, 5, 6])]
    )
    assert steps.tolist() == [5, 10]
    assert lines[0].tolist() == [3, 4]
    _, lines, _ = band([Curve(steps=[0], values=[1]), Curve(steps=[1], values=[1])])
    assert lines.shape == (3, 0)


def test_a_value_that_is_not_finite_in_one_seed_is_a_gap_in_the_mean() -> None:
    _, lines, _ = band(
        [
            Curve(steps=[0, 1, 2], values=[1, math.nan, 2]),
            Curve(steps=[0, 1, 2], values=[1, 1, math.inf]),
        ]
    )
    assert np.isnan(lines[:, 1:]).all()
    assert lines[0, 0] == 1


def test_thinning_averages_neighbours_and_keeps_short_curves() -> None:
    # Five steps in two points: the first two and the last three; the gap is left out of the mean.
    steps, rows = thin(np.arange(5), np.array([[0.0, 2, 4, np.nan, 8]]), points=2)
    assert steps.tolist() == [0, 3]
    assert rows.tolist() == [[1, 6]]
    assert len(thin(np.arange(POINTS), np.zeros((1, POINTS)))[0]) == POINTS
    assert len(thin(np.arange(500), np.zeros((1, 500)))[0]) == POINTS


def test_packed_values_come_back_to_a_65534th_of_their_range() -> None:
    lines = np.array([[0.0, 1.0, np.nan, 1 / 3], [-2.0, 0.5, 0.25, 4.0]])
    least, greatest, text = quantise(lines)
    numbers = np.frombuffer(b64decode(text), dtype="<u2").reshape(2, 4)
    assert (least, greatest) == (-2, 4)
    assert numbers[0, 2] == 65535
    back = least + numbers / 65534 * (greatest - least)
    finite = np.isfinite(lines)
    assert np.abs(back - lines)[finite].max() <= 6 / 65534 / 2 * 1.000001
    assert quantise(np.array([[3.0, 3.0]]))[:2] == (3, 3)


def test_eight_metrics_are_taken_the_well_known_first() -> None:
    packed = pack(sweep(schedules=1, weightings=2, seeds=2).groups)
    assert {metric["name"] for metric in packed["metrics"]} == set(CURVES[:8])
    assert packed["metrics"][0]["name"] == "alpha"
    assert packed["others"] == ["grad/norm", "weight/ess"]
    # Train steps and validations: two lists of steps for all groups and metrics.
    assert [len(grid) for grid in packed["grids"]] == [100, 20]


def test_runs_that_did_not_finish_are_drawn_only_where_none_did() -> None:
    done = [run("a", {}, seed, steps=20, skill=0.5) for seed in range(2)]
    broken = [replace(one, status=INTERRUPTED, seed=9) for one in done]
    alpha = [
        pack([group(runs, "a", {})])["metrics"][0]["groups"][0]
        for runs in (done + broken[:1], broken)
    ]
    assert [row[1] for row in alpha] == [2, 2]
    assert pack([group([replace(done[0], curves={})], "a", {})])["metrics"] == []
