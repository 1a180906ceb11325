"""Schedule by weighting: a map where nothing else differs, and what is said where there is none."""

from __future__ import annotations

import pytest
from compare_runs import crossed, make_run

from chord.compare.grouping import compare
from chord.compare.heat_map import heat_map
from chord.compare.maps import find_maps
from chord.compare.model import Run

NORMALIZED = crossed({"weighting.normalize": "none"}, {"weighting.normalize": "mean1"})
# What is typed as `steps` is a setting of the schedule too, and of another group.
LENGTHS = crossed(
    *({"steps": s, "schedule.total_steps": s, "rollout.total_steps": s} for s in (4, 8))
)
TWO_MORE = crossed(
    *({"optimizer.lr": lr, "rollout.problems": n} for lr, n in ((1, 1), (1, 2), (2, 1)))
)
# Options of their own have settings of their own, which is no further difference.
OWN = [
    make_run(
        choices={"schedule": schedule, "weighting": weighting},
        settings={"schedule.peak": schedule, f"weighting.of_{weighting}": 1},
    )
    for schedule in ("linear", "cosine")
    for weighting in ("phi", "margin")
]
PRESETS = [
    make_run(
        choices={"experiment": name, "schedule": schedule, "weighting": weighting},
        settings={"optimizer.lr": lr, "optimizer.warmup": lr / 2},
        overrides=[f"experiment={name}"],
    )
    for name, schedule, weighting, lr in (
        ("sft", "constant", "uniform", 1.0),
        ("rl", "rl_only", "uniform", 2.0),
        ("sft_then_rl", "step", "uniform", 2.0),
        ("chord_mu", "chord_mu", "uniform", 1.0),
        ("chord_phi", "chord_phi", "phi", 2.0),
    )
]
# The pairs of one learning rate, and two groups of another.
ODD = [*crossed({"optimizer.lr": 1}), *crossed({"optimizer.lr": 2}, weightings=["phi"])]
CASES = {
    "nothing else": (crossed(), [""], None),
    "their own settings": (OWN, [""], None),
    "one more": (NORMALIZED, ["weighting.normalize=none", "weighting.normalize=mean1"], None),
    "one more and what follows": (LENGTHS, ["steps=4", "steps=8"], None),
    "two more": (TWO_MORE, [], "groups also differ in optimizer.lr, rollout.problems"),
    "presets": (PRESETS, [], "groups also differ in experiment, optimizer.lr, optimizer.warmup"),
    "odd": (
        ODD,
        ["optimizer.lr=1"],
        "2 of 6 groups are in no map: too few share their optimizer.lr",
    ),
    "many": (
        crossed(*({"optimizer.lr": lr} for lr in range(8))),
        [f"optimizer.lr={lr}" for lr in range(6)],
        "first 6 of 8 values of optimizer.lr",
    ),
}

each_case = pytest.mark.parametrize(("runs", "titles", "note"), CASES.values(), ids=CASES)


@each_case
def test_a_map_holds_groups_that_differ_in_nothing_else(
    runs: list[Run], titles: list[str], note: str | None
) -> None:
    comparison = compare(runs)
    found, said = find_maps(comparison.groups)
    assert [each.title for each in found] == titles
    assert note in said if said and note else said is note
    for each in found:
        assert len(each.cells) == 4
        for (schedule, weighting), group in each.cells.items():
            assert group.runs[0].choices["schedule"] == schedule
            assert group.runs[0].choices["weighting"] == weighting
    figure, said_too = heat_map(comparison)
    assert (figure is None, said_too) == (not titles, said)
    if figure is not None:
        # A panel for each of the two metrics, with a bar of its colours.
        assert len(figure.axes) == 4 * len(titles)


def test_groups_that_vary_one_of_both_have_no_map_and_no_note() -> None:
    assert heat_map(compare(crossed(weightings=["phi"]))) == (None, None)
    assert heat_map(compare(crossed(schedules=["linear"]))) == (None, None)


def test_schedules_and_weightings_that_vary_together_have_no_map() -> None:
    diagonal = [make_run(choices={"schedule": f"s{i}", "weighting": f"w{i}"}) for i in range(4)]
    # Five of nine pairs, but no two schedules share two weightings.
    pairs = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2))
    ring = [make_run(choices={"schedule": f"s{s}", "weighting": f"w{w}"}) for s, w in pairs]
    for runs in (diagonal, ring):
        assert heat_map(compare(runs)) == (
            None, "not drawn: too few pairs of schedule and weighting have a run"
        )  # fmt: skip


def test_the_maps_of_a_metric_have_one_scale() -> None:
    figure, _ = heat_map(compare(NORMALIZED))
    assert figure is not None
    images = [axes.images[0] for axes in figure.axes if axes.get_title().startswith("test/target")]
    # Eight runs, from .30 to .37.
    assert [image.get_clim() for image in images] == [pytest.approx((30.0, 37.0))] * 2
    assert [text.get_text() for text in figure.axes[0].texts] == ["30.0", "32.0", "34.0", "36.0"]


def test_a_metric_that_no_map_has_is_said() -> None:
    runs = [*crossed(), make_run(choices={"schedule": "x"}, final={"val/speed": 1.0})]
    figure, note = heat_map(compare(runs, metrics=["val/speed"]))
    assert figure is not None
    runs = [*crossed(), *crossed({"optimizer.lr": 2}, weightings=["phi"])]
    only = [
        make_run(choices=dict(run.choices), settings=dict(run.settings), final={"val/x": 1.0})
        for run in runs[4:]
    ]
    figure, note = heat_map(compare([*runs[:4], *only], metrics=["val/x"]))
    assert figure is None
    assert note == "not drawn: no group of a map has val/x"
