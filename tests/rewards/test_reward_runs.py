"""Runs whose answers are scored in workers: they train, count what failed, and are read back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, compose_config, small_composed
from language_models import make_model
from omegaconf import DictConfig
from pages import ROOT, blocks

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.rewards import Format, Length, Math, Numeric, Weighted
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, read_rows
from chord.run.opening import open_run
from chord.run.training import train


def rows_of(where: Path, composed: DictConfig) -> list[dict[str, float]]:
    config = parse(composed, TrainConfig)
    train(config, RunDirectory(where, composed, "run"))
    # Nothing is left behind that a later run would wait for.
    assert getattr(config.reward, "_pool", None) is None
    return read_rows(where / METRICS)


@pytest.mark.slow
def test_an_erratic_scorer_costs_answers_and_not_the_run(
    tmp_path: Path, small_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    composed = small_composed(
        small_models,
        "experiment=rl",
        "reward=function",
        "reward.function=scorers:erratic",
        "reward.timeout=.2",
        "steps=1",
        "evaluation.val_retained=1",
        "evaluation.test_retained=1",
        "evaluation.every=0",
        "evaluation.val_problems=1",
        "evaluation.test_problems=1",
    )
    rows = rows_of(tmp_path / "run", composed)
    failed = [row["reward/timeouts"] + row["reward/errors"] for row in rows]
    assert len(rows) == 1
    # Two problems, two answers each.
    assert all(0 < count <= 4 for count in failed)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    printed = capsys.readouterr()
    (warning,) = [line for line in printed.err.splitlines() if "warning: " in line]
    base, trained = read_rows(tmp_path / "run" / EVALUATIONS)[-2:]
    for row in (base, trained):
        timeouts, errors = row["test/reward/timeouts"], row["test/reward/errors"]
        assert timeouts + errors > 0
        line = f"{row['model']}: answers that count as wrong because their verifier failed: "
        line += f"{timeouts + errors:.0f}, of them {timeouts:.0f} that took too long"
        assert line in printed.out
    assert warning.startswith("warning: reward: the verifier ")


def test_rewards_on_a_scale_of_their_own_train_and_their_verdicts_are_counted(
    tmp_path: Path, small_models: Path
) -> None:
    composed = small_composed(
        small_models,
        "schedule=constant",
        "gate=solve_rate",
        "weighting=adaptive",
        "data.pairing=paired",
        "advantage.baseline=none",
        "advantage.scale=none",
        "reward=function",
        "reward.function=scorers:graded",
        "reward.right_from=-800",
    )
    rows = rows_of(tmp_path / "run", composed)
    responses = read_rows(tmp_path / "run" / "completions.jsonl")
    finished = [each for each in responses if each["finished"]]
    assert {each["score"] for each in finished} == {0, 1}
    for each in finished:
        assert each["reward"] == 100 * len(each["response"]) - 1000
        assert each["score"] == (each["reward"] >= -800)
    # Without a baseline.
    assert all(each["advantage"] == each["reward"] for each in responses)
    # What was cut off earns what the empty text does.
    assert all((e["score"], e["reward"]) == (0, -1000) for e in responses if not e["finished"])
    for row in rows:
        assert row["reward/errors"] == 0
        assert 0 <= row["rollout/score"] <= 1
        assert -1000 <= row["rollout/reward"] < -100
        assert row["rollout/all_wrong"] in (0, 0.5, 1)
    for row in read_rows(tmp_path / "run" / EVALUATIONS):
        shares = [value for name, value in row.items() if name.endswith(("rl_reward", "accuracy"))]
        assert shares
        assert all(0 <= share <= 1 for share in shares)


@pytest.mark.faults
def test_a_run_whose_scorer_always_fails_stops_and_keeps_its_arguments_and_traceback(
    tmp_path: Path, small_models: Path
) -> None:
    composed = small_composed(
        small_models,
        "experiment=rl",
        "reward=function",
        "reward.function=scorers:never",
        "evaluation.val_problems=64",
    )
    run = RunDirectory(tmp_path / "run", composed, "run")
    with pytest.raises(ConfigError, match=r"^reward\.on_failures=stop: .*scorer_failure\.json$"):
        train(parse(composed, TrainConfig), run)
    facts = json.loads((run.path / "scorer_failure.json").read_text())
    assert facts["reason"].startswith("the verifier raised TypeError")
    assert facts["prompt"].endswith("=")
    assert 'float(response["score"])' in "\n".join(facts["traceback"])
    status = json.loads((run.path / "status.json").read_text())
    assert status["status"] == "failed"
    assert status["error"].startswith("reward.on_failures=stop: ")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("reward", "answer", "said"),
    [
        ("numeric", "12:30", "reward=numeric: .*'12:30'"),
        ("exact", "-7", r"reward=exact: the answer '-7' .* use reward=numeric .* reward=text"),
    ],
)
def test_known_answers_that_are_no_numbers_are_refused_with_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str, answer: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"problem": f"{n}+1=", "answer": str(n + 1)} for n in range(60)]
    rows[40]["answer"] = answer
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    composed = compose_config(
        *SMALL, "experiment=rl", "data=jsonl", "data.problems=p.jsonl", "data.validation=.2",
        "data.test=.2", "model=hf", f"model.path={make_model(tmp_path / 'model')}", "teacher=none",
        f"reward={reward}",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=rf"^p\.jsonl line 41: {said}"):
        train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_language_model_is_trained_on_a_weighted_reward_that_is_read_back(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="needs the extra `math`")
    composed = compose_config(
        *SMALL,
        "experiment=rl",
        "model=hf",
        f"model.path={make_model(tmp_path / 'model')}",
        "reward=weighted",
        "reward@reward.parts.answer=math",
        "reward.parts.format.pattern='[0-9]+'",
        "+reward@reward.parts.brief=length",
        "+reward.weights.brief=.5",
    )
    rows = rows_of(tmp_path / "run", composed)
    assert [row["reward/errors"] for row in rows] == [0, 0]
    # Answers that run to the end of their 12 tokens lose the half point of `brief`.
    assert all(row["rollout/reward"] < 0 for row in rows if row["rollout/no_eos"] == 1)
    reward = parse(open_run(tmp_path / "run").config, TrainConfig).reward
    assert isinstance(reward, Weighted)
    assert {name: type(part).__name__ for name, part in reward.parts.items()} == {
        "answer": "Math",
        "format": "Format",
        "brief": "Length",
    }


def test_a_language_model_is_trained_on_a_task_with_its_own_scorer(tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym", reason="needs the extra `reasoning`")
    composed = compose_config(
        *SMALL,
        "experiment=rl",
        "steps=1",
        "model=hf",
        f"model.path={make_model(tmp_path / 'model', max_position_embeddings=512)}",
        "data=reasoning_gym",
        "data.task=spell_backward",
        "data.size=60",
        "evaluation.val_problems=1",
        "evaluation.test_problems=1",
        "reward=reasoning_gym",
    )
    (row,) = rows_of(tmp_path / "run", composed)
    assert (row["reward/errors"], row["reward/timeouts"]) == (0, 0)


def test_parts_compose_as_options_do() -> None:
    assert parse(compose_config("reward=weighted"), TrainConfig).reward == Weighted(
        parts={"answer": Numeric(), "format": Format()},
        weights={"answer": 1.0, "format": 0.1},
        score="answer",
    )
    changed = compose_config(
        "reward=weighted",
        "reward@reward.parts.answer=math",
        "reward.parts.answer.timeout=3",
        "~reward@reward.parts.format",
        "~reward.weights.format",
    )
    assert parse(changed, TrainConfig).reward == Weighted(
        parts={"answer": Math(timeout=3.0)}, weights={"answer": 1.0}, score="answer"
    )


def test_the_documented_file_and_function_work(tmp_path: Path) -> None:
    page = ROOT / "docs" / "rewards.md"
    (option,), (source,) = blocks(page, "yaml"), blocks(page, "python")
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "mine.yaml").write_text(option)
    composed = compose_config(f"hydra.searchpath=[file://{tmp_path}]", "reward=mine")
    assert parse(composed, TrainConfig).reward == Weighted(
        parts={"answer": Math(timeout=5.0), "brief": Length(hard=48)},
        weights={"answer": 1.0, "brief": 0.2},
        score="answer",
    )
    names: dict[str, Any] = {}
    exec(source, names)
    assert names["score"](answer="Paris", response="It is PARIS.") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["reward.parts.answer.tolerance=2"], "reward.parts.answer.tolerance=2.0: must be within"),
        (["+reward@reward.parts.brief=length"], "reward.weights.brief: has no value; each part"),
        (["+reward.weights.brief=1"], "reward.weights.brief=1.0: no such part; parts are answer,"),
        (["reward.score=brief"], "reward.score=brief: must be one of the parts answer, format"),
        (["+reward.parts.answer.x=1"], "reward.parts.answer.x=1: no such setting (allowed: "),
        (["reward@reward.parts.answer=weighted"], "reward.parts.answer: can't be a weighted"),
    ],
)
def test_a_wrong_part_is_named(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(compose_config("reward=weighted", *settings), TrainConfig)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["reward=function", "reward.function=nowhere:f"], "reward.function=nowhere:f: can't be"),
        (["reward=reasoning_gym"], "reward=reasoning_gym: the problems are of no task"),
    ],
)
def test_a_reward_that_can_score_nothing_stops_before_the_run(
    tmp_path: Path, small_models: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        rows_of(tmp_path / "run", small_composed(small_models, *settings))
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "run").exists()
