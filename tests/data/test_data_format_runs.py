"""Runs on files in the layouts that other projects write: two steps from each."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, compose_config
from formats import FORMATS, rows_of
from texts import sums, write

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.evaluation.settings import METRICS as MEASURES
from chord.io.reading import read_json
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, read_rows
from chord.run.located import located
from chord.run.loop import Outcome
from chord.run.training import train


@pytest.fixture
def run(
    tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)

    def take(name: str, *overrides: str) -> Outcome:
        composed = configured(language_model, *overrides)
        outcome = train(parse(composed, TrainConfig), RunDirectory(tmp_path / name, composed, name))
        assert outcome is not None
        return outcome

    return take


def configured(model: Path, *overrides: str) -> Any:
    settings = ["model=hf", f"model.path={model}", "teacher=none", "data=jsonl", "reward=numeric"]
    settings += ["data.problems=p.jsonl", "data.expert=p.jsonl", "data.expert_batch=3"]
    settings += ["rollout.max_new_tokens=48"]
    settings += ["data.validation=.2", "data.test=.2", "schedule=constant"]
    return compose_config(*SMALL, *settings, *overrides)


@pytest.mark.parametrize("name", FORMATS)
def test_two_steps_are_taken_from_each_layout(run: Callable[..., Outcome], name: str) -> None:
    write(Path("p.jsonl"), rows_of(name))
    known = bool(FORMATS[name].answer)
    outcome = run("one", *([] if known else ["schedule=sft_only"]))
    rows = read_rows(Path("one") / METRICS)
    assert [row["tokens/sft"] > 0 for row in rows] == [True, True]
    assert ("target_accuracy" in outcome.validation) == known
    assert "sft_accuracy" in outcome.validation


def test_only_sft_needs_no_answers(
    run: Callable[..., Outcome], language_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("sharegpt"))
    for schedule in ("schedule=constant", "schedule=rl_only", "schedule=sft_then_rl"):
        with pytest.raises(ConfigError, match=r"^p\.jsonl: was recognised as .* SFT"):
            run("refused", schedule)
    outcome = run("one", "schedule=sft_only", "evaluation.every=1")
    said = capsys.readouterr().out
    assert "p.jsonl: has no right answers, so no response is scored" in said
    assert "✗" not in said
    assert set(outcome.validation) & set(MEASURES) == {"sft_accuracy", "expert_nll"}
    assert outcome.trained.answers
    assert outcome.metric("val/target_accuracy") != outcome.metric("val/target_accuracy")
    # Problems with answers can still be held out in a file of their own.
    write(Path("t.jsonl"), sums(9))
    other = run("two", "schedule=sft_only", "data.test=t.jsonl")
    assert "target_accuracy" in other.trained.metrics
    assert "target_accuracy" not in other.validation


def test_a_run_without_validation_reports_on_test(
    run: Callable[..., Outcome], language_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("own"))
    outcome = run("one", "data.validation=0", "evaluation.every=1")
    assert ", 0 validation, " in capsys.readouterr().out
    assert outcome.validation == {}
    rows = read_rows(Path("one") / EVALUATIONS)
    assert {row["split"] for row in rows} == {"test"}
    assert outcome.metric("val/target_accuracy") != outcome.metric("val/target_accuracy")
    with pytest.raises(ConfigError, match=r"^data\.validation=0: evaluation\.test=false"):
        parse(configured(language_model, "data.validation=0", "evaluation.test=false"), TrainConfig)
    again = compose_config("evaluation=quick", "evaluation.max_new_tokens=12", name="evaluate")
    again.split = "val"
    from chord.config.root import EvaluateConfig

    with pytest.raises(ConfigError, match=r"^split=val: data\.validation=0 holds out no problems"):
        evaluate_run(Path("one"), parse(again, EvaluateConfig))


def test_scores_are_given_by_source(
    run: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("p.jsonl"), rows_of("verl"))
    outcome = run("one", "evaluation.val_problems=8", "evaluation.test_problems=8")
    metrics = outcome.trained.metrics
    found = {key: value for key, value in metrics.items() if key.startswith("source/")}
    assert set(found) == {"source/openai/gsm8k", "source/amc"}
    asked = outcome.trained.answers
    for name in ("openai/gsm8k", "amc"):
        scores = [each.score for each in asked if each.problem.source == name]
        assert found[f"source/{name}"] == sum(scores) / len(scores)
    assert "target of openai/gsm8k" in capsys.readouterr().out
    # While it trains, too: before the first step, and after each evaluation.
    rows = [row for row in read_rows(Path("one") / EVALUATIONS) if row["split"] == "val"]
    assert rows
    assert all({"val/source/openai/gsm8k", "val/source/amc"} <= row.keys() for row in rows)
    from chord.compare.command import main as compare

    run("two", "seed=1", "evaluation.val_problems=8", "evaluation.test_problems=8")
    compare(["one", "two", "--out", "compared"])
    assert "test/source/amc" in (Path("compared") / "runs.csv").read_text()
    assert "source/amc" in (Path("compared") / "comparison.html").read_text()


def test_a_run_reads_lists_patterns_and_packed_files(run: Callable[..., Outcome]) -> None:
    for number in range(2):
        rows = [FORMATS["own"].row(n) for n in range(20 * number, 20 * number + 20)]
        content = write(Path(f"{number}.jsonl"), rows).read_bytes()
        Path(f"{number}.jsonl.gz").write_bytes(gzip.compress(content))
    run("one", "data.problems=[0.jsonl,1.jsonl]", "data.expert=*.jsonl.gz")
    contents = read_json(Path("one") / "run.json")["contents"]
    assert {"data.problems.0", "data.problems.1", "data.expert"} <= contents.keys()
    config = configured(Path("m"), "data.problems=[0.jsonl,1.jsonl]", "data.expert=*.jsonl.gz")
    here = Path.cwd()
    (here / "elsewhere").mkdir()
    os.chdir(here / "elsewhere")
    found = located(config, here).data
    os.chdir(here)
    assert list(found.problems) == [f"{here}/0.jsonl", f"{here}/1.jsonl"]
    assert found.expert == f"{here}/*.jsonl.gz"
