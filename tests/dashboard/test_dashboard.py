"""What a dashboard shows and how it is specified: true metric names, our JSON, W&B's structure."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from pages import ROOT, blocks, code, documented, matches, table

from chord.dashboard.sections import BAR, COLUMNS, LINE, SCATTER, SECTIONS
from chord.dashboard.specification import VERSION, PanelRequest, options, specification
from chord.data.tasks import RETAINED
from chord.step.metrics import BUCKETS

CHARTS = [chart for section in SECTIONS for chart in section.charts]
# W&B's history has these; the rest, of the test split and the base model, is in its summary.
HISTORY = [*documented("metrics.jsonl"), *documented("timings.jsonl")]
EVALUATED = documented("evaluations.jsonl")


def spec(**asked: Any) -> dict[str, Any]:
    return specification(PanelRequest(address="me/chord", **asked))


def known(metric: str, kind: str) -> bool:
    """Whether a run logs the metric where a chart of this kind reads it."""
    if kind == LINE:
        of_steps = any(matches(key, metric) for key in HISTORY)
        return of_steps or (metric.startswith("val/") and logged_by_evaluations(metric))
    final = metric.removeprefix("base/")
    return final.startswith("test/") and logged_by_evaluations(final)


def logged_by_evaluations(metric: str) -> bool:
    found = re.fullmatch(r"\w+/retained/(\w+)", metric)
    skill_is_known = found is None or found[1] in (*RETAINED, "mean", "min")
    return skill_is_known and any(matches(key, metric) for key in EVALUATED)


def test_every_metric_shown_is_one_that_runs_log() -> None:
    # The names in docs/run-directory.md are compared with those of real runs by its own tests.
    wrong = [(c.title, name) for c in CHARTS for name in c.metrics if not known(name, c.kind)]
    assert not wrong
    assert all(known(name, LINE) or known(name, BAR) for name in COLUMNS)


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("rollout/rewards", LINE),
        ("val/retained/revers", LINE),
        ("test/target_accuracy", LINE),
        ("val/target_accuracy", BAR),
        ("base/test/target", BAR),
    ],
)
def test_a_misspelt_metric_or_one_in_the_wrong_place_is_noticed(metric: str, kind: str) -> None:
    assert not known(metric, kind)


def test_every_skill_and_every_bucket_of_p_has_its_chart() -> None:
    shown = {name for chart in CHARTS for name in chart.metrics}
    assert {f"val/retained/{skill}" for skill in RETAINED} <= shown
    assert {f"weight/p_{low:.2f}_{high:.2f}" for low, high in pairwise(BUCKETS)} <= shown


def test_each_section_holds_what_it_is_named_for() -> None:
    prefixes = {
        section.name: {name.split("/")[0] for chart in section.charts for name in chart.metrics}
        for section in SECTIONS
    }
    assert list(prefixes) == [
        "Alpha", "Rewards", "Losses", "Retained skills", "Token weights", "Rollouts and style",
        "Evaluations: validation", "Evaluations: test",
    ]  # fmt: skip
    assert prefixes["Evaluations: validation"] == {"val"}
    assert prefixes["Evaluations: test"] == {"test", "base"}
    assert prefixes["Rewards"] == prefixes["Rollouts and style"] == {"rollout"}


def test_the_specification_is_as_documented() -> None:
    made = spec(sweep="night", schedules=["linear"])
    assert made == json.loads(json.dumps(made)), "plain values only"
    page = "docs/dashboard.md"
    keys = {code(row[0])[0]: row for row in table(page, "| key of the specification |")[1:]}
    assert list(keys) == list(made)
    chart_keys = [code(row[0])[0] for row in table(page, "| key of a chart |")[1:]]
    assert chart_keys == list(made["sections"][0]["charts"][0])
    assert code(keys["version"][1]) == [str(VERSION)]
    kinds = code(next(row[1] for row in table(page, "| key of a chart |") if "`kind`" in row[0]))
    assert kinds == [LINE, BAR, SCATTER]
    (example,) = blocks(ROOT / page, "json")
    assert json.loads(example) == made["run_sets"]


def test_runs_are_grouped_by_sweep_and_by_everything_that_is_named_but_the_seed() -> None:
    schedule, weighting = "config.run.options.schedule", "config.run.options.weighting"
    assert spec()["group_by"] == ["group", schedule, weighting]
    assert spec(sweep="night")["group_by"] == [schedule, weighting]
    more = spec(by=["experiment", "schedule", "objective.kl.coef", "off_policy", "steps"])
    assert more["group_by"][3:] == [
        "config.run.options.experiment",
        "config.objective.kl.coef",
        "config.run.options.weighting@off_policy",
        "config.steps",
    ]


def test_there_is_a_run_set_for_each_schedule_with_each_weighting() -> None:
    assert spec()["run_sets"] == [{"name": "all runs", "where": []}]
    cut = spec(schedules=["linear", "cosine", "linear"], weightings=["phi"])["run_sets"]
    assert [run_set["name"] for run_set in cut] == [
        "schedule=linear weighting=phi",
        "schedule=cosine weighting=phi",
    ]
    assert cut[1]["where"] == [
        {"keys": ["config.run.options.schedule"], "in": ["cosine"]},
        {"keys": ["config.run.options.weighting"], "in": ["phi"]},
    ]


def test_a_title_is_one_that_wandb_takes() -> None:
    assert spec()["title"] == "chord"
    assert spec(sweep="a=b\n<c> 😀 it's")["title"] == "chord a b c it's"
    assert len(spec(sweep="x" * 300)["title"]) == 128


def test_the_options_that_can_be_named_are_those_of_the_command_line() -> None:
    assert {"linear", "chord_mu", "sft_only"} <= set(options("schedule"))
    assert {"phi", "uniform"} <= set(options("weighting"))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"schedules": ["linaer"]}, "--schedule linaer: no such option; did you mean 'linear'?"),
        ({"weightings": ["cosine"]}, "--weighting cosine: no such option (allowed: adaptive"),
        ({"by": ["seed"]}, "--by seed: the runs of a group differ by the seed"),
        ({"by": ["schedule.fnal"]}, "--by schedule.fnal: no such group or setting"),
        ({"by": ["colour"]}, "--by colour: no such group or setting"),
        ({"sweep": " "}, "--sweep: must name a sweep or group"),
    ],
)
def test_what_can_not_be_meant_is_one_line(asked: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        spec(**asked)


@pytest.mark.parametrize("address", ["chord", "a/b/c", "a//b", "", "/b", "me/my chord", "me/ch?"])
def test_an_address_is_an_entity_and_a_project(address: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(address)}: must be entity/project"):
        PanelRequest(address=address)
