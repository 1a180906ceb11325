"""Groups of all that differ by the seed alone, their labels, and what is compared with what."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from compare_runs import VERSIONS, config, make_run, write_run

from chord.compare.grouping import compare
from chord.compare.model import Comparison, LeftOut, Run, RunGroup
from chord.compare.reading import read_runs
from chord.compare.settings import flat_settings, read_origin
from chord.run.files import FAILED, INTERRUPTED, RUNNING

ACCURACY = "test/target_accuracy"


def group(comparison: Comparison, label: str) -> RunGroup:
    return next(each for each in comparison.groups if each.label == label)


def two_schedules() -> Comparison:
    return compare(
        [
            make_run(seed=seed, accuracy=base + gain, choices={"schedule": schedule})
            for schedule, gain in (("linear", 0.0), ("cosine", 0.1))
            for seed, base in enumerate((0.2, 0.3, 0.4))
        ]
    )


def test_runs_that_differ_by_the_seed_alone_are_a_group() -> None:
    found = two_schedules()
    assert [each.label for each in found.groups] == ["schedule=linear", "schedule=cosine"]
    assert [run.seed for run in found.groups[1].runs] == [0, 1, 2]
    # .3, .4, .5
    assert found.groups[1].final[ACCURACY].mean == pytest.approx(0.4)
    assert found.groups[1].final[ACCURACY].n == 3
    assert found.base == {ACCURACY: 0.1}


def test_differences_are_to_the_first_group_unless_named() -> None:
    found = two_schedules()
    assert found.baseline == "schedule=linear"
    assert not found.groups[0].differences
    difference = found.groups[1].differences[ACCURACY]
    # Each seed gains .1, where a seed alone moves both by .1: no spread is left, and no test.
    assert difference.estimate.mean == pytest.approx(0.1)
    assert difference.estimate.low == pytest.approx(0.1)
    assert math.isnan(difference.p)
    runs = [run for each in found.groups for run in each.runs]
    assert compare(runs, baseline="schedule=cosine").baseline == "schedule=cosine"


def test_the_baseline_is_sft_then_rl_where_it_is_there() -> None:
    presets = ("chord_mu", "sft_then_rl", "rl")
    runs = [make_run(choices={"experiment": name}) for name in presets]
    found = compare(runs)
    assert found.baseline == "sft_then_rl"
    assert [each.label for each in found.groups] == list(presets)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("schedule=linear", "matches 2 groups: schedule=linear weighting=phi; "),
        ("schedule=exponential", "no such group; available: schedule=linear weighting=phi"),
        ("linear", "no such group"),
    ],
)
def test_a_baseline_that_is_not_one_group_is_an_error(wanted: str, message: str) -> None:
    runs = [
        make_run(choices={"schedule": schedule, "weighting": weighting})
        for schedule in ("linear", "cosine")
        for weighting in ("phi", "margin")
    ]
    with pytest.raises(ValueError, match=f"--baseline {wanted}: ") as error:
        compare(runs, baseline=wanted)
    assert message in str(error.value)


def test_a_baseline_may_be_named_by_a_setting_or_a_preset() -> None:
    runs = [
        make_run(choices={"experiment": name}, settings={"optimizer.lr": lr})
        for name, lr in (("rl", 0.1), ("sft", 0.2))
    ]
    assert compare(runs, baseline="optimizer.lr=0.2").baseline == "sft"
    assert compare(runs, baseline="experiment=rl").baseline == "rl"


def test_a_label_has_what_was_typed_and_no_more_than_it_needs() -> None:
    def run(preset: str, lr: float, *typed: str) -> object:
        return make_run(
            choices={"experiment": preset},
            settings={"optimizer.lr": lr, "optimizer.total_steps": lr},
            overrides=[f"experiment={preset}", *typed],
        )

    by_preset = compare([run("rl", 0.1), run("sft", 0.2)])  # type: ignore[list-item]
    assert [each.label for each in by_preset.groups] == ["rl", "sft"]
    typed = [run("rl", 0.1, "optimizer.lr=.1"), run("sft", 0.2, "optimizer.lr=.2")]
    labels = [each.label for each in compare(typed).groups]  # type: ignore[arg-type]
    assert labels == ["rl optimizer.lr=0.1", "sft optimizer.lr=0.2"]
    grid = [run("rl", 0.1), run("rl", 0.2), run("sft", 0.2)]
    labels = [each.label for each in compare(grid).groups]  # type: ignore[arg-type]
    assert labels == ["rl optimizer.lr=0.1", "rl optimizer.lr=0.2", "sft optimizer.lr=0.2"]


def test_a_single_group_has_a_name_and_no_baseline() -> None:
    found = compare([make_run(seed=0), make_run(seed=1)])
    assert [each.label for each in found.groups] == ["schedule=cosine weighting=phi"]
    assert found.baseline is None


def test_strategies_with_the_same_settings_are_groups_of_their_own() -> None:
    runs = [make_run(choices={"weighting": name}) for name in ("uniform", "margin")]
    assert len(compare(runs).groups) == 2


def test_another_version_of_the_code_is_a_group_of_its_own() -> None:
    runs = [make_run(), make_run(seed=1, versions={**VERSIONS, "torch": "2.12.0"})]
    found = compare(runs)
    assert [each.label for each in found.groups] == [
        "version of torch=2.13.0",
        "version of torch=2.12.0",
    ]
    assert any("different versions: torch 2.13.0 (1), 2.12.0 (1)" in note for note in found.notes)


def test_a_version_is_in_the_labels_that_need_it() -> None:
    runs = [
        make_run(choices={"experiment": "rl"}),
        make_run(choices={"experiment": "rl"}, versions={**VERSIONS, "torch": "2.12.0"}),
        make_run(choices={"experiment": "sft"}),
    ]
    assert [each.label for each in compare(runs).groups] == [
        "rl version of torch=2.13.0", "rl version of torch=2.12.0", "sft"
    ]  # fmt: skip


def test_other_mixed_versions_are_a_note() -> None:
    found = compare([make_run(), make_run(seed=1, versions={**VERSIONS, "python": "3.12.0"})])
    assert len(found.groups) == 1
    assert any("different versions: python 3.11.7 (1), 3.12.0 (1)" in note for note in found.notes)


def test_other_lengths_are_groups_of_their_own_and_a_note() -> None:
    runs = [make_run(), make_run(seed=1, planned_steps=8, steps=8, settings={"steps": 8})]
    found = compare(runs)
    assert [each.label for each in found.groups] == ["steps=4", "steps=8"]
    assert any("different lengths (4, 8 steps)" in note for note in found.notes)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (FAILED, "failed after 2 of 4 steps: out of memory"),
        (INTERRUPTED, "interrupted after 2 of 4 steps: out of memory"),
        (RUNNING, "still running, or killed, after 2 of 4 steps"),
    ],
)
def test_an_unfinished_run_is_left_out_with_its_reason(status: str, reason: str) -> None:
    stopped = make_run(seed=2, status=status, steps=2, error="out of\nmemory", accuracy=1.0)
    other = [make_run(seed=seed, choices={"schedule": "linear"}) for seed in (0, 1, 2)]
    found = compare([make_run(seed=0), make_run(seed=1), stopped, *other])
    mine = group(found, "schedule=cosine")
    assert (mine.final[ACCURACY].mean, mine.final[ACCURACY].n) == (0.5, 2)
    assert list(mine.missing) == [2]
    assert [each.reason for each in found.left_out] == [reason]
    assert list(found.unfinished) == [stopped]


def test_a_finished_run_without_scores_is_left_out() -> None:
    found = compare([make_run(), make_run(seed=1, final={})])
    assert found.left_out[0].reason == "has no evaluation of the trained model after 4 of 4 steps"


def test_the_same_run_again_is_left_out() -> None:
    found = compare([make_run(path="a"), make_run(path="b"), make_run(seed=1)])
    assert found.groups[0].final[ACCURACY].n == 2
    assert found.left_out[0].reason == "the same settings and seed as a"
    others = [make_run(path="a"), make_run(path="b", accuracy=0.75)]
    (left_out,) = compare(others).left_out
    assert left_out.reason.startswith("the same settings and seed as a, and yet other numbers")


def test_forks_of_other_runs_of_one_kind_are_a_group_by_their_seeds() -> None:
    def forked(seed: int, source: str, step: int = 4) -> Run:
        of = {"fingerprint": source, "recipe": "r", "step": step, "sha256": source}
        values = config(seed, 4) | {"lineage": of, "fork": source, "checkpoint": step}
        return make_run(
            path=f"{source}/{step}", seed=seed, settings=flat_settings(values, {}), source=source,
            origin=read_origin(values),
        )  # fmt: skip

    found = compare([forked(0, "a"), forked(1, "b"), forked(0, "a", 2), forked(1, "b", 2)])
    assert [len(group.runs) for group in found.groups] == [2, 2]
    assert {group.label for group in found.groups} == {
        f"fork of other runs after {step} steps" for step in (2, 4)
    }
    found = compare([forked(0, "a"), forked(0, "b")])
    assert found.left_out[0].reason == "the same seed as a/4, a fork of another run of its kind"


@pytest.mark.parametrize("kind", ["fork", "model"])
def test_a_run_that_started_from_another_is_labelled_so_and_its_steps_are_added(kind: str) -> None:
    of = {"fingerprint": "f", "recipe": "r", "step": 4, "sha256": "s"}
    source = {"fork": "outputs/kr"} if kind == "fork" else {"model": {"run": "outputs/kr"}}
    origin = read_origin({**source, "lineage": of})
    later = make_run(path="kf", planned_steps=2, settings={"steps": 2}, origin=origin)
    found = compare([make_run(path="kr"), later], baseline="steps=4")
    assert [group.label for group in found.groups] == [
        "steps=4",
        f"steps=2 ({kind} of kr after 4 steps)",
    ]
    assert (
        "runs have different lengths (4, 4+2 steps; the first number of a sum counts those of the "
        "run that it started from); each is compared at its own end"
    ) in found.notes
    assert read_origin({"lineage": None, "fork": None, "model": {"run": None}}) is None


def test_nothing_finished_is_an_error_with_the_first_reason() -> None:
    stopped = make_run(status=FAILED, error="no room", steps=1)
    with pytest.raises(ValueError, match=r"none of 1 runs is finished.*no room"):
        compare([stopped])
    with pytest.raises(ValueError, match=r"^no run can be read.*x: y"):
        compare([], [LeftOut(what="x", reason="y")])


def test_a_metric_that_some_runs_lack_is_over_the_others_and_said() -> None:
    runs = [make_run(seed=seed, accuracy=0.1 * seed) for seed in range(3)]
    final = {name: value for name, value in runs[2].final.items() if name != ACCURACY}
    found = compare([*runs[:2], make_run(seed=2, final=final)])
    assert found.groups[0].final[ACCURACY].n == 2
    assert [(each.what, each.reason) for each in found.left_out] == [
        (
            f"{ACCURACY} of runs/cosine-phi-2",
            "missing from the final scores, or not a finite number below 1e30",
        )
    ]


def test_test_and_validation_are_never_one_column() -> None:
    validated = {"val/target_accuracy": 0.9, "val/retained/mean": 0.9}
    selecting = make_run(final=validated, settings={"evaluation.test": False})
    tested = make_run(choices={"schedule": "linear"})
    found = compare([selecting, tested])
    assert list(found.metrics) == [
        ACCURACY, "test/retained/mean", "val/target_accuracy", "val/retained/mean"
    ]  # fmt: skip
    assert ACCURACY not in group(found, "schedule=cosine").final
    assert found.left_out[0].what == "test scores of 1 groups: schedule=cosine"
    assert list(compare([selecting]).metrics) == ["val/target_accuracy", "val/retained/mean"]
    assert list(compare([tested]).metrics) == [ACCURACY, "test/retained/mean"]


def test_a_metric_that_no_run_has_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"test/speed: .* available: test/retained/mean, "):
        compare([make_run()], metrics=["test/speed"])
    assert list(compare([make_run()], metrics=["val/target_accuracy"] * 2).metrics) == [
        "val/target_accuracy"
    ]


def test_other_bases_are_a_note_and_no_common_base() -> None:
    other = make_run(base={ACCURACY: 0.2}, settings={"model.pretraining_seed": 1})
    found = compare([make_run(), other])
    assert not found.base
    assert any("do not start from the same scores" in note for note in found.notes)
    assert any("base model differs between groups" in note for note in found.notes)


def test_seeds_do_not_vary_the_base_and_the_reader_is_told() -> None:
    assert any("all runs share the base model" in n for n in two_schedules().notes)


def test_other_problems_are_a_note() -> None:
    runs = [make_run(), make_run(seed=1, settings={"evaluation.test_problems": 7})]
    assert any("(evaluation.test_problems)" in note for note in compare(runs).notes)


def test_one_seed_has_no_interval_and_the_reader_is_told() -> None:
    runs = [make_run(choices={"schedule": name}) for name in ("linear", "cosine")]
    found = compare(runs)
    assert math.isnan(found.groups[1].differences[ACCURACY].p_holm)
    assert any("one seed has no interval" in note for note in found.notes)


def test_best_validation_stands_beside_the_last() -> None:
    best = {"val/target_accuracy": 0.7, "val/balance_at_0.5": 0.6}
    found = compare([make_run(seed=seed, best=best) for seed in (0, 1)]).groups[0]
    assert found.best["val/target_accuracy"].mean == pytest.approx(0.7)
    assert found.final["val/target_accuracy"].mean == pytest.approx(0.5)
    assert found.seconds is not None
    assert (found.seconds.mean, found.tokens) == (2.0, {"sft": 40.0, "rl": 400.0})


def test_costs_that_are_not_known_are_in_no_mean_and_counted() -> None:
    whole = make_run()
    gaps = make_run(seed=1, seconds=None, tokens={})
    untimed = make_run(seed=2, seconds=None)
    found = compare([whole, gaps, untimed])
    assert found.groups[0].seconds is not None
    assert (found.groups[0].seconds.n, found.groups[0].tokens) == (1, {"sft": 40.0, "rl": 400.0})
    assert (
        "tokens of 1 of 3 runs and seconds of 2 of 3 runs are unknown, because their records have "
        "gaps or are missing; the means are over the other runs"
    ) in found.notes
    assert not any("are unknown" in note for note in compare([whole]).notes)


@pytest.mark.parametrize("start", [None, "start"])
def test_runs_that_begin_with_the_models_of_seeds_of_one_run_are_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str | None
) -> None:
    # Written by hand, they have no fingerprints.
    monkeypatch.setattr("chord.run.identity.agreement.SINCE_2", ())
    for seed in (0, 1):
        of = {"fingerprint": f"of {seed}", "recipe": "r", "step": 2, "sha256": f"{seed}"}
        model = {"run": f"s{seed}", "path": "base" if start else f"s{seed}/model", "start": start}
        path = write_run(tmp_path / str(seed), seed=seed, settings={"lineage": of, "model": model})
        facts = json.loads((path / "run.json").read_text())
        name = "model.start" if start else "model.path"
        facts["contents"] = {name: {"path": f"s{seed}/model", "sha256": f"{seed}" * 64}}
        (path / "run.json").write_text(json.dumps(facts))
    (group,) = compare(read_runs([tmp_path / "0", tmp_path / "1"])[0]).groups
    assert [run.seed for run in group.runs] == [0, 1]
