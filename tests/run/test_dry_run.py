"""`dry_run=true`: what a run would train on is shown, and nothing is trained, loaded or written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from conftest import SMALL, compose_config
from sweeps import Command, command
from texts import sums, worked, write

from chord import train
from chord.config.composing import composed
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.batch import Pair, Problem
from chord.errors import ConfigError
from chord.models.hf.config import HFModel
from chord.models.hf.tokenizer import LanguageTokenizer
from chord.run.dry import dry_run
from chord.run.status import fingerprint

__all__ = ["command"]

ROWS: list[dict[str, Any]] = [{**row, "level": 1} for row in sums(60)]
Configured = Callable[..., TrainConfig]


def never(*arguments: object) -> NoReturn:
    raise AssertionError("must not be called")


@pytest.fixture
def configured(tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The configuration of a run on p.jsonl and e.jsonl, whose weights can't be loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HFModel, "build", never)
    write(tmp_path / "p.jsonl", [*ROWS, ROWS[0]])
    write(tmp_path / "e.jsonl", worked(ROWS[:40]))
    typed = [
        *SMALL, "model=hf", f"model.path={language_model}", "teacher=none", "data=jsonl",
        "data.problems=p.jsonl", "data.expert=e.jsonl", "data.expert_check=stop",
        "rollout.max_new_tokens=8", "dry_run=true",
    ]  # fmt: skip
    return lambda *more: parse(compose_config(*typed, *more), TrainConfig)


def test_a_language_model_on_the_test_bed_is_said_to_be_trained_on_it(
    configured: Configured, language_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "data=testbed: the language model is trained on the products of the test bed; data=jsonl"
    hf = ("model=hf", f"model.path={language_model}", "teacher=none")
    for words in (hf, ()):
        dry_run(parse(compose_config(*SMALL, *words, "dry_run=true"), TrainConfig))
        assert (line in capsys.readouterr().out) == bool(words)
    dry_run(configured())
    assert line not in capsys.readouterr().out


def test_what_a_run_trains_on_is_shown_without_weights_and_without_files(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    dry_run(configured("data.prompt_template='Add: {problem}'"))
    assert sorted(tmp_path.iterdir()) == before
    said = capsys.readouterr().out
    for line in (
        "  data.problems=p.jsonl",
        "  p.jsonl: 61 rows; problem=problem, answer=answer, id=id; not read: level",
        "  e.jsonl: 40 rows; problem=problem, response=response",
        "  p.jsonl: 61 rows, 60 problems (1 row repeats another and is left out); "
        "45 for training, 8 validation, 7 test",
        "  expert responses for training: 30, 30 of them to problems of RL",
        "  data.prompt_template=Add: {problem}",
        "  end       <|im_end|>",
        "dry_run=true: nothing was trained or written",
    ):
        assert f"{line}\n" in said, line
    assert "¦A¦d¦d¦:¦ ¦" in said
    # 10+10=20 and longer have 9 tokens with their end; all but those of one digit do.
    (lengths,) = [line for line in said.splitlines() if line.startswith("  tokens of prompts")]
    assert re.search(r", longer than rollout\.max_new_tokens=8: \d+ of 30 \(.* %\); both", lengths)
    assert lengths.endswith(", longer than the model's context of 128: 0 of 30")
    assert "\n  held out, tokens of prompts: median " in said
    # The longest prompt, <|im_start|>user, Add: 10+10? and so on, has 30 tokens.
    assert (
        "\n  the model's context of 128 leaves 98 tokens after the longest prompt, of 30, for "
        "rollout.max_new_tokens=8 and evaluation.max_new_tokens=4\n"
    ) in said
    assert re.search(
        r"\nexpert responses longer than rollout\.max_new_tokens=8: \d+ of 30 \(.* %\); 9 would ",
        said,
    )
    assert not re.search(r"; *$", said, re.M)
    assert said.count("\nexample ") == 10
    dry_run(configured("data.preview=2", "data.expert_check=skip"))
    said = capsys.readouterr().out
    assert said.count("\nexample ") == 2
    assert "\nno expert response was scored: data.expert_check=skip\n" in said
    # An example says where it is from.
    found = re.search(
        r"^example 1 of 2, e\.jsonl line (\d+): .* right answer: '(\d+)'$", said, re.M
    )
    assert found is not None
    assert ROWS[int(found[1]) - 1]["answer"] == int(found[2])


def test_of_a_worked_solution_what_the_reward_compares_is_shown(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": row["problem"], "answer": f"We add.\n#### {row['answer']}"} for row in ROWS
    ]
    write(tmp_path / "p.jsonl", rows)
    write(tmp_path / "e.jsonl", rows)
    dry_run(configured("rollout.max_new_tokens=40"))
    shown = re.findall(r"right answer: (.*)$", capsys.readouterr().out, re.M)
    assert len(shown) == 11
    assert all(re.fullmatch(r"'\d+'", answer) for answer in shown)


def test_files_of_retained_skills_are_shown_with_their_problems(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "facts.jsonl", sums(20, start=100))
    dry_run(configured("evaluation.retained=[facts.jsonl]"))
    said = capsys.readouterr().out
    assert "\n  evaluation.retained.facts=facts.jsonl\n" in said
    assert "\n  facts.jsonl: 20 rows; problem=problem, answer=answer, id=id\n" in said
    found = re.search(r"^  retained skill facts: (\d+) validation, (\d+) test$", said, re.M)
    assert found is not None
    assert int(found[1]) + int(found[2]) == 20


def test_each_text_is_tokenised_once(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[object] = Counter()
    prompt, response = LanguageTokenizer.prompt, LanguageTokenizer.response

    def prompts(self: LanguageTokenizer, problem: Problem) -> list[int]:
        counts[problem.prompt] += 1
        return prompt(self, problem)

    def responses(self: LanguageTokenizer, pair: Pair) -> tuple[list[int], list[bool]]:
        counts[pair.response] += 1
        return response(self, pair)

    monkeypatch.setattr(LanguageTokenizer, "prompt", prompts)
    monkeypatch.setattr(LanguageTokenizer, "response", responses)
    monkeypatch.setattr("chord.run.dry.tell_examples", lambda *arguments: None)
    monkeypatch.setattr("chord.run.dry.tell_prompt", lambda *arguments: None)
    # Only texts that may be too long are looked at for it, and with this context all may be.
    dry_run(configured("rollout.max_new_tokens=40", "model.context=66"))
    del counts["1"]  # what a prompt has around its text is measured with this one
    assert set(counts.values()) == {1}
    assert len(counts) == 60 + 40


def test_what_stops_a_run_stops_a_dry_run_in_the_same_line(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"^data\.problems=no\.jsonl: no such file$"):
        dry_run(configured("data.problems=no.jsonl"))
    with pytest.raises(ConfigError, match=r"^data\.overlong=error: 21 of 30 expert responses of e"):
        dry_run(configured("model.context=30", "rollout.max_new_tokens=20"))
    for best in ("val/retained/nope", "val/source/nope"):
        with pytest.raises(ConfigError, match=rf"^trainer\.keep\.best={best}: the evaluations of "):
            dry_run(configured(f"trainer.keep.best={best}"))
    capsys.readouterr()
    with pytest.raises(ConfigError, match=r"^data\.expert_check=stop: .* with reward=numeric;"):
        dry_run(configured("reward=text", "rollout.max_new_tokens=40"))
    # The examples, which may show why, are there by then.
    assert "\nexample 10 of 10, e.jsonl line " in capsys.readouterr().out


def test_of_rows_that_are_dropped_the_answers_do_not_matter(
    configured: Configured, tmp_path: Path
) -> None:
    long = {"problem": "1+" * 90 + "?", "answer": "many"}
    write(tmp_path / "p.jsonl", [*ROWS, long])
    dry_run(configured("reward=numeric", "data.overlong=drop"))
    write(tmp_path / "p.jsonl", [*ROWS, {**long, "problem": "1?"}])
    with pytest.raises(ConfigError, match=r"^p\.jsonl line 61: "):
        dry_run(configured("reward=numeric", "data.overlong=drop"))


def test_a_context_that_only_weights_tell_is_said_to_be_unknown(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(HFModel, "shape", lambda self: None)
    dry_run(configured())
    said = capsys.readouterr().out
    assert "the context is known only with the weights" in said
    assert "over the model's context" not in said


def test_the_command_leaves_no_directory_and_needs_no_tracker(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chord.models.tiny.Tiny.build", never)
    monkeypatch.setattr("chord.tracking.wandb.import_wandb", never)
    monkeypatch.setattr("chord.config.trainer.TrainerConfig.check_machine", never)
    checked = ("data.expert_check=stop", "rollout.max_new_tokens=48")
    before = sorted(command.where.rglob("*"))
    assert command("dry_run=true", "tracking=wandb", *checked) == 0, command.err
    assert sorted(command.where.rglob("*")) == before
    assert "  the test bed: 256 expert demonstrations, " in command.out
    assert "both together: median 56, " in command.out
    assert "\nreward of the expert responses: " in command.out
    assert command("dry_run=true", "data=jsonl", "data.problems=no.jsonl") == 1
    assert command.err.startswith("error: ")
    assert command.err.count("\n") == 1
    assert sorted(command.where.rglob("*")) == before


def test_only_one_new_run_can_be_dry(command: Command, small_models: Path) -> None:
    assert command("-m", "dry_run=true", "seed=0,1") == 1
    assert command.err == (
        "error: dry_run=true: shows the data of one new run; leave out dry_run or -m\n"
    )
    run = command.where / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert command("dry_run=true", "resume=run", own=False) == 1
    assert command.err.endswith("leave out dry_run or resume=run\n")
    with pytest.raises(ConfigError, match=r"^dry_run=true: only chord\.train has it; leave it out"):
        composed(["dry_run=true"])


def test_a_dry_run_is_no_other_run() -> None:
    assert fingerprint(compose_config("dry_run=true")) == fingerprint(compose_config())


def test_the_script_is_the_command_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(train, "launch", lambda *_, before: read.extend(before(["steps=3"])))
    train.check_data()
    assert read == ["steps=3", "dry_run=true"]
