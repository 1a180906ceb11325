"""The HTML page as a file: what is in it, that nothing in it can run, and its size."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_comparison import METRICS, answer, empty, failed_run, group, run, sweep

from chord.compare.model import Comparison, Curve, LeftOut, RunGroup
from chord.compare.page import write_page
from chord.compare.page.answers import CHARACTERS, sample_answers
from chord.compare.page.data import content
from chord.evaluation.statistics import Estimate

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert('2')"> & ü 試 \u2028"""
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


def written(comparison: Comparison, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    write_page(comparison, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = DATA.search(text)
    assert found
    return text, json.loads(found[1])


def hostile(name: str) -> Comparison:
    """Everything that a user can name is called `name`."""
    one = replace(
        run("a", {"schedule": name, name: "b"}, 0, steps=10, skill=0.5),
        path=name, name=name, settings={name: name, "nested": {name: [name]}},
        versions={name: name}, curves={name: Curve(steps=[0, 1], values=[0.5, 0.6])},
        answers=[replace(answer(1, name, True), problem=name, expert=name)], error=name,
        final={name: 0.5},
    )  # fmt: skip
    final = {name: Estimate(mean=0.5, low=0.5, high=0.5, n=1)}
    groups = [replace(group([one], label, {name: label}), final=final) for label in (name, "other")]
    return Comparison(
        title=name, metrics=[name], groups=groups, baseline=name, base={name: 0.1},
        left_out=[LeftOut(what=name, reason=name)], notes=[name],
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [HOSTILE, "<!--", "{{data}} {{script}}", "\ud800", "__proto__", ""]
)
def test_what_a_user_names_stays_text(name: str, tmp_path: Path) -> None:
    text, data = written(hostile(name), tmp_path)
    calm, _ = written(hostile("calm"), tmp_path)
    # No tag more than in a page with a harmless name, and no comment.
    for sign in ("<script", "</script", "<img", "<!--", "<bdi"):
        assert text.count(sign) == calm.count(sign), sign
    assert "<" not in DATA.search(text)[1]  # type: ignore[index]
    group, run = data["groups"][0], data["groups"][0]["runs"][0]
    assert data["title"] == group["label"] == run["path"] == run["error"] == name
    assert data["leftOut"] == [{"reason": name, "what": [name]}]
    assert data["notes"] == [name]
    assert data["problems"][0]["problem"] == data["problems"][0]["expert"] == name


def test_the_file_refers_to_nothing_outside_and_its_policy_lets_nothing_in(tmp_path: Path) -> None:
    text, _ = written(sweep(), tmp_path)
    # A namespace is a name and is not fetched.
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(\s*[\"']?(?!#)", text)
    assert re.search(r"Content-Security-Policy\" content=\"default-src 'none'", text)
    assert "unsafe" not in text
    assert "innerHTML" not in text


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(sweep(), tmp_path)[0] == written(sweep(), tmp_path)[0]


def calls(work: Callable[[], object]) -> int:
    """How many functions are called on the way."""
    count = 0

    def called(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# 200 groups of 5, 500 of 2 (most bands for each run) and 1,000 of 1 (most groups).
@pytest.mark.slow
@pytest.mark.parametrize(("rates", "seeds"), [(8, 5), (20, 2), (40, 1)])
def test_a_thousand_runs_are_twice_the_work_of_five_hundred_and_are_small(
    rates: int, seeds: int, tmp_path: Path
) -> None:
    half, whole = (
        sweep(schedules=5, weightings=5, rates=number, seeds=seeds, steps=500)
        for number in (rates // 2, rates)
    )
    assert sum(len(group.runs) for group in whole.groups) == 1000
    work = calls(lambda: write_page(half, tmp_path / "half.html"))
    assert calls(lambda: write_page(whole, tmp_path / "page.html")) < 2.2 * work
    assert (tmp_path / "page.html").stat().st_size < 15e6


def test_the_table_has_means_intervals_differences_and_the_best_metrics(tmp_path: Path) -> None:
    comparison = sweep()
    _, data = written(comparison, tmp_path)
    assert [metric["name"] for metric in data["metrics"]] == list(METRICS)
    # Accuracies have a better end above, a negative log-likelihood below.
    assert [metric["better"] for metric in data["metrics"]] == [1, 1, 1, -1]
    first, row = comparison.groups[0], data["groups"][0]
    wanted = first.final[METRICS[0]]
    assert row["final"][0] == pytest.approx([wanted.mean, wanted.low, wanted.high, 5], rel=1e-6)
    change = first.differences[METRICS[0]]
    assert row["differences"][0][4:] == pytest.approx([change.p, change.p_holm], rel=1e-6)
    assert data["bestMetrics"][0]["name"] == "val/target_accuracy"
    assert data["baseline"] == 0
    assert data["base"][0] == 0.21


def test_runs_that_did_not_finish_stand_with_their_group_and_count_for_nothing() -> None:
    comparison = sweep(schedules=1, weightings=2)
    second = comparison.groups[1].runs[0]
    broken = replace(second, status="failed", seed=9, error="out of memory", final={})
    data = content(replace(comparison, unfinished=[broken, failed_run(0)]))
    assert [run["counted"] for run in data["groups"][1]["runs"]] == [True] * 5 + [False]
    assert data["groups"][1]["runs"][5]["error"] == "out of memory"
    assert len(data["groups"][0]["runs"]) == 5
    # Its settings are those of no group.
    assert [run["name"] for run in data["strays"]] == ["failed 0"]


def test_options_and_settings_are_those_that_differ() -> None:
    data = content(sweep(schedules=2, weightings=2))
    assert [(one["name"], one["values"], one["of"]) for one in data["options"]] == [
        ("schedule", ["linear", "cosine"], [0, 0, 1, 1]),
        ("weighting", ["none", "phi"], [0, 1, 0, 1]),
    ]
    assert [one["name"] for one in data["settings"]] == ["schedule", "weighting", "schedule.peak"]
    assert data["versions"] == [["chord", "0.1.0"], ["torch", "2.13.0"]]


def test_a_setting_that_a_group_lacks_is_shown_as_absent_and_numbers_are_in_order() -> None:
    runs = [
        replace(run("a", {}, 0, steps=5, skill=0.5), settings=settings)
        for settings in ({"lr": 1e-3, "peak": 0.9}, {"lr": 2e-4, "peak": 0.9}, {"lr": 1e-4})
    ]
    data = content(empty(groups=[group([one], str(at), {}) for at, one in enumerate(runs)]))
    assert data["settings"] == [
        {"name": "lr", "values": ["0.0001", "0.0002", "0.001"], "of": [2, 1, 0]},
        {"name": "peak", "values": ["0.9", "–"], "of": [0, 0, 1]},
    ]


def test_answers_share_problems_and_give_way_when_the_page_would_grow_too_large() -> None:
    data = content(sweep(schedules=1, weightings=2))
    assert len(data["problems"]) == 6
    assert data["problems"][0]["base"] == [["base: 0 and 0 make 0", True]]
    assert data["answers"][1]["to"][0][0] == 0
    long = [replace(answer(at, "x", True), text=str(at) * 100_000) for at in range(9)]
    one = replace(run("a", {}, 3, steps=5, skill=0.5), answers=long, base_answers=())
    cut = sample_answers([group([one], "a", {})])["answers"][0]
    assert cut["seed"] == 3
    assert {len(text) for _, text, _ in cut["to"]} == {2000}
    # 9 problems of about 2,000 characters for each of 200 groups: 694 or fewer texts have room.
    many = sample_answers([group([one], "a", {})] * 200)
    assert len(json.dumps(many)) < 1.1 * CHARACTERS
    assert many["problemsLeftOut"] + len(many["problems"]) == 9


BARE: RunGroup = replace(
    group([replace(run("a", {}, 0, steps=5, skill=0.5), curves={}, final={}, answers=())], "a", {}),
    final={}, differences={}, seconds=None, tokens={}, best={},
)  # fmt: skip
NAN = float("nan")


@pytest.mark.parametrize(
    "comparison",
    [
        empty(),
        empty(left_out=[LeftOut(what="outputs/1", reason="no run.json")]),
        empty(metrics=METRICS, groups=[group([failed_run(0), failed_run(1)], "failed", {})]),
        empty(metrics=METRICS, groups=[BARE], baseline="not a group"),
        empty(metrics=METRICS, groups=[replace(BARE, runs=())], title=""),
        empty(metrics=METRICS, groups=[*sweep(seeds=1).groups, BARE]),
        empty(metrics=METRICS, groups=[replace(
            BARE, final={METRICS[0]: Estimate(mean=NAN, low=NAN, high=NAN, n=2),
                         METRICS[1]: Estimate(mean=0.5, low=-float("inf"), high=NAN, n=2)})]),
    ],
    ids=["empty", "all left out", "failed", "bare", "no runs", "one seed", "not finite"],
)  # fmt: skip
def test_what_is_missing_is_null_and_never_an_error(comparison: Comparison, tmp_path: Path) -> None:
    _, data = written(comparison, tmp_path)
    assert len(data["groups"]) == len(comparison.groups)
