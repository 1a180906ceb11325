"""Runs on data that are texts, with a small language model."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SMALL, compose_config
from omegaconf import DictConfig
from safetensors.torch import load_file
from texts import sums, worked, write

from chord.compare.command import main as compare
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, read_rows
from chord.run.loop import Outcome
from chord.run.opening import open_run
from chord.run.training import train

Run = Callable[..., Outcome]
ROWS = sums(60)


@pytest.fixture
def run(tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A short run in a directory with p.jsonl and e.jsonl."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.jsonl", ROWS)
    write(tmp_path / "e.jsonl", worked(ROWS[:40]))

    def take(name: str, *overrides: str) -> Outcome:
        composed = configured(language_model, *overrides)
        return train(parse(composed, TrainConfig), RunDirectory(tmp_path / name, composed, name))

    return take


def configured(model: Path, *overrides: str) -> DictConfig:
    return compose_config(
        *SMALL,
        "model=hf",
        f"model.path={model}",
        "teacher=none",
        "schedule=constant",
        "data=jsonl",
        "data.problems=p.jsonl",
        "data.expert=e.jsonl",
        "data.validation=.2",
        "data.test=.2",
        "data.expert_batch=3",
        *overrides,
    )


def test_a_run_on_files_says_what_is_in_them(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run("one")
    said = capsys.readouterr().out
    assert "p.jsonl: 60 problems; " in said
    assert "e.jsonl: 40 responses; " in said
    assert "tokens of prompts: median " in said
    assert {"sft_accuracy", "balance_at_0.5", "target_accuracy"} <= outcome.validation.keys()
    prompts = {row["problem"] for row in ROWS}
    assert {answer.problem.prompt for answer in outcome.trained.answers} <= prompts
    rows = read_rows(Path("one") / METRICS)
    assert all(row["tokens/sft"] > 0 and row["tokens/rl"] > 0 for row in rows)


@pytest.mark.parametrize("pairing", ["all", "separate", "paired"])
def test_every_pairing_takes_its_steps(run: Run, pairing: str) -> None:
    settings = ["gate=solve_rate", "rollout=expert_in_group"] if pairing == "paired" else []
    run("one", *settings, f"data.pairing={pairing}", "rollout.problems=2", "rollout.group_size=2")
    assert len(read_rows(Path("one") / METRICS)) == 2


def test_conversations_count_the_assistants_tokens_alone(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(n: int) -> list[dict[str, str]]:
        texts = [("user", f"{n}?"), ("assistant", "hm"), ("user", "go"), ("assistant", str(n))]
        return [{"role": role, "content": text} for role, text in texts]

    write(Path("c.jsonl"), [{"messages": said(n), "answer": n} for n in range(10, 90)])
    # Of each conversation four characters and two ends of a turn; where the file's problems are the
    # conversations too, they answer its last question, with two characters and one end.
    for problems, tokens in (("p", 6), ("c", 3)):
        run(problems, "schedule=sft_only", f"data.problems={problems}.jsonl", "data.expert=c.jsonl")
        rows = read_rows(Path(problems) / METRICS)
        assert [row["tokens/sft"] for row in rows] == [3 * tokens] * 2
    said_of = "c.jsonl: 80 continue a conversation that is a problem of c.jsonl; the assistant's"
    assert capsys.readouterr().out.count(said_of) == 1


def test_answers_to_unknown_problems_are_graded_for_nobody(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path("e.jsonl"), [{"problem": f"{n}?", "response": "1"} for n in range(40)])
    settings = ("schedule=sft_only", "reward=numeric")
    for name, *weighting in (("uniform",), ("adaptive", "weighting.expert=one_hot")):
        run(name, *settings, f"weighting={name}", *weighting)
        assert "warning" not in capsys.readouterr().err, name


def test_a_run_without_an_expert_has_no_measure_of_imitation(
    run: Run, language_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run("one", "schedule=rl_only", "data.expert=null")
    assert "rl_reward" in outcome.validation
    assert "sft_accuracy" not in outcome.validation
    assert math.isnan(outcome.metric("val/balance_at_0.5"))
    with pytest.raises(ConfigError, match=r"^data\.expert=null: the schedule sets alpha > 0"):
        parse(configured(language_model, "data.expert=null"), TrainConfig)
    with pytest.raises(
        ConfigError, match=r"^data\.pairing=paired: needs expert responses, and data"
    ):
        parse(
            configured(
                language_model, "data.expert=null", "schedule=rl_only", "data.pairing=paired"
            ),
            TrainConfig,
        )


def test_a_manner_that_the_data_cannot_tell_is_no_number(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value, settings in (("plain", None, []), ("detected", 0, ["data.expert_style=@@@"])):
        outcome = run(name, *settings)
        found = {
            key: row.get(key)
            for path in (METRICS, EVALUATIONS)
            for row in read_rows(Path(name) / path)
            for key in (f"{row.get('split', 'rollout')}/expert_style",)
        }
        assert found == dict.fromkeys(
            ("rollout/expert_style", "val/expert_style", "test/expert_style"), value
        )
        printed = capsys.readouterr().out.splitlines()
        rows = [line.split("│")[2:5] for line in printed if "expert's style" in line]
        cells = [[cell.strip() for cell in row] for row in rows]
        assert cells == ([] if value is None else [["0.0 %", "0.0 %", "0"]])
        assert read_rows(Path(name) / "completions.jsonl")[0]["expert_style"] is (
            None if value is None else False
        )
        if value is None:
            with pytest.raises(ConfigError, match=r"val/expert_style: needs data\.expert_style"):
                outcome.metric("val/expert_style")
    # A comparison shows both, as far as they have been measured.
    compare(["plain", "detected", "--out", "compared"])
    assert "expert_style" in (Path("compared") / "runs.csv").read_text()


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(run: Run) -> None:
    run("whole", "steps=3")
    run("cut", "steps=2")
    resumed = open_run(Path("cut"))
    resumed.config.resume, resumed.config.steps = "cut", 3
    train(parse(resumed.config, TrainConfig), resumed)
    whole, cut = (load_file(Path(name) / "model/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    # The rows are those of one run, but for alpha's share of the length, which is constant here.
    assert read_rows(Path("whole") / METRICS) == read_rows(Path("cut") / METRICS)


def test_what_is_too_long_is_left_out_of_training_and_of_evaluations(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nor do their answers matter, which are no numbers.
    long = [{"problem": f"{n}+" * 40 + "?", "answer": "many"} for n in range(10, 40)]
    write(Path("p.jsonl"), [*ROWS, *long])
    with pytest.raises(ConfigError, match=r"^data\.overlong=error: \d+ of \d+ prompts of p.jsonl"):
        run("refused")
    assert not (Path("refused") / "run.json").exists()
    outcome = run("one", "data.overlong=drop", "reward=numeric", "evaluation.test_problems=90")
    assert "left out: " in capsys.readouterr().out
    asked = [answer.problem.prompt for answer in outcome.trained.answers]
    assert asked
    assert max(map(len, asked)) < 10
    again = compose_config("evaluation=quick", "evaluation.max_new_tokens=12", name="evaluate")
    from chord.config.root import EvaluateConfig

    again.evaluation.test_problems, again.split = 90, "test"
    _, trained = evaluate_run(Path("one"), parse(again, EvaluateConfig))
    assert [answer.problem.prompt for answer in trained.answers] == asked


def test_what_is_wrong_in_a_file_ends_before_a_run_directory_is_written(run: Run) -> None:
    write(Path("p.jsonl"), [*ROWS[:16], {"problem": "2+2?"}])
    with pytest.raises(ConfigError, match=r"^p\.jsonl line 17: field answer is missing; there are"):
        run("one")
    assert not Path("one").exists()


@pytest.mark.slow
def test_a_command_whose_data_are_wrong_leaves_no_directory(
    tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("p.jsonl"), [*ROWS[:16], {"problem": "2+2?"}])
    settings = [*SMALL, "model=hf", f"model.path={language_model}", "teacher=none", "data=jsonl"]
    settings += ["data.problems=p.jsonl", "schedule=rl_only", "hydra.run.dir=two"]
    ended = subprocess.run(
        [sys.executable, "-m", "chord.train", *settings], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: p.jsonl line 17: field answer is missing; there are")
    assert not Path("two").exists()
