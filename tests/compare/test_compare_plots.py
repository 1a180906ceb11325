"""The pictures of a comparison: what is in them, and what is said where one is not drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from compare_runs import make_run

from chord.compare.canvas import cut, limit, line_style, panels, point_style, shown_groups
from chord.compare.grouping import compare
from chord.compare.heat_map import heat_map
from chord.compare.model import Curve, Run
from chord.compare.plots import alphas, band, curves, scatter, write_plots
from chord.compare.record import on_grid, stride


def grid(*, seeds: int = 3) -> list[Run]:
    """Two schedules by two weightings."""
    return [
        make_run(
            seed=seed,
            accuracy=0.3 + 0.1 * seed,
            choices={"schedule": schedule, "weighting": weighting},
        )
        for schedule in ("linear", "cosine")
        for weighting in ("phi", "margin")
        for seed in range(seeds)
    ]


def test_a_sweep_has_all_pictures(tmp_path: Path) -> None:
    paths, notes = write_plots(compare(grid(), title="a_sweep"), tmp_path)
    assert [path.name for path in paths] == [
        "curves.png",
        "alpha.png",
        "scatter.png",
        "heatmap.png",
    ]
    assert not notes
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)


def test_a_band_is_the_mean_and_its_interval_at_common_steps() -> None:
    runs = [
        make_run(seed=seed, curves={"alpha": Curve(steps=steps, values=values)})
        for seed, steps, values in (
            (0, [0, 1, 3], [1.0, 0.0, 0.5]),
            (1, [0, 2, 3], [3.0, 9.0, 0.5]),
            (2, [0, 3], [2.0, 0.5]),
        )
    ]
    found = band(runs, "alpha")
    assert found is not None
    assert found.steps.tolist() == [0.0, 3.0]
    assert found.mean.tolist() == [2.0, 0.5]
    # 1, 2, 3: s = 1, t(.975; 2) = √(1.805 / .0975) = 4.302653, over √3. Equal values: 0.
    half = math.sqrt(1.805 / 0.0975) / math.sqrt(3)
    assert found.half == pytest.approx([half, 0.0], abs=1e-9)


def test_no_curve_and_no_common_step_have_no_band() -> None:
    apart = [
        make_run(seed=seed, curves={"alpha": Curve(steps=[seed], values=[0.5])}) for seed in (0, 1)
    ]
    assert band(apart, "alpha") is None
    assert band(apart, "loss/sft") is None


def test_a_line_of_the_curves_is_a_group_and_nothing_else_has_a_panel() -> None:
    figure, note = curves(compare(grid()))
    assert figure is not None
    assert note is None
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["alpha: share of SFT", "rollout reward", "validation: target",
                      "validation: retained skills, mean"]  # fmt: skip
    assert [len(axes.lines) for axes in figure.axes] == [4] * 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "schedule=linear weighting=phi"


def test_a_single_value_is_no_curve() -> None:
    once = {
        "alpha": Curve(steps=[0, 1], values=[1.0, 0.0]),
        "val/target_accuracy": Curve(steps=[9], values=[0.5]),
    }
    runs = [make_run(seed=seed, curves=once) for seed in (0, 1)]
    figure, _ = curves(compare(runs, title="once"))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["alpha: share of SFT"]


def test_equal_alphas_are_one_line_that_names_their_number() -> None:
    figure, _ = alphas(compare(grid()))
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    # Two labels of 29 and 32 characters are more than the 60 of a legend.
    assert labels == ["schedule=linear weighting=phi and 3 more"]
    presets = [make_run(choices={"experiment": name}) for name in ("rl", "sft", "x" * 60)]
    figure, _ = alphas(compare(presets))
    assert figure is not None
    assert figure.legends[0].get_texts()[0].get_text() == "rl, sft and 1 more"


def test_many_groups_are_cut_to_the_baseline_and_the_highest_and_it_says_so() -> None:
    runs = [make_run(accuracy=lr / 100, settings={"optimizer.lr": lr}) for lr in range(12)]
    comparison = compare(runs, baseline="optimizer.lr=3")
    kept, note = shown_groups(comparison, 4)
    assert [group.label for group in kept] == [f"optimizer.lr={lr}" for lr in (3, 9, 10, 11)]
    assert note == "4 of 12 groups: the baseline and those with the highest test/target_accuracy"
    assert curves(comparison)[1] is not None


def test_the_scatter_has_the_base_and_each_group() -> None:
    runs = [make_run(seed=s, base={"test/target_accuracy": 0.1, "test/retained/mean": 1.0})
            for s in range(2)]  # fmt: skip
    figure, _ = scatter(compare(runs))
    assert figure is not None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["schedule=cosine weighting=phi", "before training"]


def test_without_scores_the_scatter_says_why() -> None:
    figure, note = scatter(compare([make_run(final={"test/target_accuracy": 1.0})]))
    assert figure is None
    assert note == "not drawn: no run has both test/target_accuracy and test/retained/mean"


def test_a_cell_holds_its_mean_in_percent() -> None:
    figure, _ = heat_map(compare(grid(seeds=1)))
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["30.0"] * 4
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(np.full((2, 2), 30.0))


def test_no_two_groups_look_the_same() -> None:
    assert len({tuple(sorted(line_style(i).items())) for i in range(32)}) == 32
    assert len({tuple(point_style(i).items()) for i in range(64)}) == 64


def test_axes_hold_the_means_and_shares_stay_shares() -> None:
    _, (axes,) = panels(2, 2, 1, 1)
    # Range .4, and .35 of it on both sides: .46 to 1.14, of which a share shows up to 1.02.
    limit(axes, "y", [np.array([0.6, 1.0, np.nan])], share=True)
    assert axes.get_ylim() == pytest.approx((0.46, 1.02))


def test_names_are_no_formulas_and_no_control_characters(tmp_path: Path) -> None:
    name = "$\\frac$ \x1b \x00 " + "x" * 100
    runs = [make_run(choices={"experiment": each}) for each in (name, "$b$", "模型")]
    paths, _ = write_plots(compare(runs, title="$a_b$ ^"), tmp_path)
    assert paths
    assert cut(name).startswith("$\\frac$ ? ? xxx")
    assert len(cut(name)) == 60


def test_a_grid_shows_every_phase_of_what_alternates() -> None:
    # 800 steps: stride 5, as 799 / 199 = 4.02. A schedule of period 5 shows all five phases.
    assert stride(800) == 5
    kept = [step for step in range(800) if on_grid(step, stride(800))]
    assert len(kept) == 160
    assert {step % 5 for step in kept} == {0, 1, 2, 3, 4}
