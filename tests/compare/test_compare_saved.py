"""Comparing runs on the evaluations that chord.evaluate has saved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from compare_runs import write_run, write_sweep

from chord.compare.command import main, parser, read
from chord.compare.model import Comparison
from chord.compare.reading import read_runs
from chord.compare.saved import metrics_of, with_evaluation
from chord.errors import ConfigError

SCORES = {"linear": [0.9, 0.9], "cosine": [0.9, 0.9]}
SAVED = [0.1, 0.2, 0.4, 0.6]


def save(run: Path, accuracy: float, stem: str = "harder-4-00000000", **facts: Any) -> Path:
    """A saved evaluation, as far as it is read."""
    (run / "evaluations").mkdir(exist_ok=True)
    whole = {
        "asked": "a" * 64, "reward": {"option": "auto"}, "samples": 8, "temperature": 1.0,
        "which": None, "step": 4, "evaluated": "2026-01-01", "evaluation": {"max_new_tokens": 48},
        "base": {"target_accuracy": 0.05},
        "trained": {"target_accuracy": accuracy, "target_mean8": accuracy / 2}, **facts,
    }  # fmt: skip
    file = run / "evaluations" / f"{stem}.json"
    file.write_text(json.dumps(whole))
    return file


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two schedules with two seeds, each run with an evaluation on `harder`."""
    root = write_sweep(tmp_path / "a_sweep", SCORES)
    for job, accuracy in enumerate(SAVED):
        save(root / str(job), accuracy)
    return root


def compared(root: Path, evaluation: str = "harder") -> Comparison:
    return read(parser().parse_args([str(root), "--evaluation", evaluation]))[0]


def test_saved_scores_take_the_place_of_the_runs_own(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(sweep)
    assert list(found.metrics) == ["harder/target_accuracy", "harder/target_mean8"]
    linear, cosine = found.groups
    # (.1 + .2) / 2, (.4 + .6) / 2, and the mean of .3 and .4.
    assert linear.final["harder/target_accuracy"].mean == pytest.approx(0.15)
    assert cosine.final["harder/target_accuracy"].mean == pytest.approx(0.5)
    assert cosine.differences["harder/target_accuracy"].estimate.mean == pytest.approx(0.35)
    assert found.base == {"harder/target_accuracy": 0.05}
    main([str(sweep), "--evaluation", "harder", "--no-page"])
    assert "harder in %: mean" in capsys.readouterr().out


def test_different_problems_and_settings_are_not_pooled(sweep: Path) -> None:
    save(sweep / "1", 0.2, asked="b" * 64, samples=4)
    with pytest.raises(ConfigError, match=r"differ in problems, samples \(8, 4\); evaluate all"):
        compared(sweep)


def test_of_several_that_are_shared_one_is_named(sweep: Path) -> None:
    for job in range(4):
        save(sweep / str(job), 0.7, "harder-4-11111111", samples=4)
    with pytest.raises(ConfigError, match=r"share 2 of them, which differ in samples \(8, 4\)"):
        compared(sweep)
    found = compared(sweep, "harder samples=4")
    assert found.groups[0].final["harder/target_accuracy"].mean == pytest.approx(0.7)
    with pytest.raises(ConfigError, match="steps=4 must be SETTING=VALUE, with one of samples, "):
        compared(sweep, "harder steps=4")


def test_runs_without_it_are_left_out_and_said(sweep: Path) -> None:
    (sweep / "0" / "evaluations" / "harder-4-00000000.json").unlink()
    # It was evaluated before the run was at its end.
    save(sweep / "1", 0.2, step=2)
    found = compared(sweep)
    assert [each.what.split()[0] for each in found.left_out] == [f"{sweep}/0", f"{sweep}/1"]
    assert "has no saved evaluation harder" in found.left_out[0].reason
    with pytest.raises(
        ConfigError, match=r"--evaluation other: no finished run has it; save it with"
    ):
        compared(sweep, "other")


def test_unfinished_runs_are_listed_as_without_it(sweep: Path) -> None:
    write_run(sweep / "9", seed=9, taken=2, status={"status": "failed", "error": "loss"})
    assert "failed after 2 of 4 steps: loss" in [each.reason for each in compared(sweep).left_out]


def test_an_unfinished_run_that_has_it_is_not_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", taken=2, status={"status": "interrupted", "error": None})
    save(run, 0.3, step=2)
    said = r"only finished runs are compared, and .*run is interrupted; finish it with resume=.*run"
    with pytest.raises(ConfigError, match=f"^--evaluation harder: {said}"):
        with_evaluation(read_runs([run])[0], "harder")


def test_the_newest_of_the_same_settings_counts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    save(run, 0.3, "harder-4-11111111", evaluated="2026-03-01")
    save(run, 0.2, "harder-4-22222222", evaluated="2026-02-01")
    (scored,), _ = with_evaluation(read_runs([run])[0], "harder")
    assert scored.final["harder/target_accuracy"] == 0.3
    assert metrics_of([scored])[0] == "harder/target_accuracy"


def test_another_runs_evaluation_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    found, _ = read_runs([run])
    (run / "status.json").write_text('{"fingerprint": "this"}')
    save(run, 0.3, fingerprint="this")
    save(run, 0.9, "harder-4-33333333", fingerprint="that", evaluated="2027")
    runs, left_out = with_evaluation(found, "harder")
    assert runs[0].final["harder/target_accuracy"] == 0.3
    assert left_out[0].reason.startswith("is of a run with other settings")


@pytest.mark.parametrize("model", ["base", "trained"])
@pytest.mark.parametrize(("name", "value"), [("target_accuracy", 1.5), ("retained/min", -0.25)])
def test_a_share_that_is_none_is_left_out(
    tmp_path: Path, model: str, name: str, value: float
) -> None:
    run = write_run(tmp_path / "run")
    save(run, 0.3)
    bad = save(run, 0.9, "harder-4-33333333", evaluated="2027", **{model: {name: value}})
    (scored,), (left_out,) = with_evaluation(read_runs([run])[0], "harder")
    assert scored.final["harder/target_accuracy"] == 0.3
    assert left_out.what == str(bad)
    assert left_out.reason == f"has {name}={value}, which must be from 0 to 1"


@pytest.mark.parametrize("kind", ["pipe", "directory", "text", "deep", "list", "huge", "empty"])
def test_hostile_files_are_left_out(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path / "run")
    good = save(run, 0.3)
    bad = good.with_name("harder-4-bad.json")
    if kind == "pipe":
        os.mkfifo(bad)
    elif kind == "directory":
        bad.mkdir()
    elif kind == "huge":
        with bad.open("wb") as file:
            file.truncate(2**31)
    else:
        deep = good.read_text().replace('"auto"', "[" * 200 + "]" * 200)
        texts = {"text": "\0", "deep": deep, "list": "[]", "empty": "{}"}
        bad.write_text(texts[kind])
    runs, left_out = with_evaluation(read_runs([run])[0], "harder")
    assert runs[0].final["harder/target_accuracy"] == 0.3
    assert [each.what for each in left_out] == [str(bad)]


def test_saved_evaluations_are_not_on_wandb() -> None:
    options = parser().parse_args(["--wandb", "me/it", "--evaluation", "harder"])
    with pytest.raises(ConfigError, match=r"^--wandb: cannot be combined with --evaluation"):
        read(options)
