"""Before the first step, the reward scores the expert's responses as it would score rollouts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, compose_config
from texts import sums, worked, write

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data import batch
from chord.errors import ConfigError
from chord.rewards import isolated
from chord.run.build import open_data
from chord.run.directory import RunDirectory
from chord.run.experts import grade_experts, tell_rewards
from chord.run.training import train

ROWS = sums(60)
Check = Callable[..., None]


@pytest.fixture
def configured(
    tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """The configuration of a run on p.jsonl and e.jsonl."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.jsonl", ROWS)
    write(tmp_path / "e.jsonl", worked(ROWS[:40]))
    files = ("data=jsonl", "data.problems=p.jsonl", "data.expert=e.jsonl")
    lengths = ("rollout.max_new_tokens=40", "evaluation.max_new_tokens=40")
    return lambda *more: compose_config(
        *SMALL, "model=hf", f"model.path={language_model}", "teacher=none", *files, *lengths,
        "data.expert_check=stop", *more,
    )  # fmt: skip


def checked(composed: Any) -> None:
    config = parse(composed, TrainConfig)
    with open_data(config) as data:
        tell_rewards(config, data, grade_experts(config, data))


def test_right_responses_are_counted(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    checked(configured("reward=numeric"))
    said = capsys.readouterr()
    assert said.out == "reward of the expert responses: 30 of 30 right\n"
    assert said.err == ""


def test_verdicts_on_another_scale_are_counted(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("reward=function", "reward.function=scorers:graded")
    checked(configured(*settings, "reward.right_from=-1000"))
    assert capsys.readouterr().out == "reward of the expert responses: 30 of 30 right\n"
    with pytest.raises(ConfigError, match="the reward scores each of the 30 expert responses 0"):
        checked(configured(*settings, "reward.right_from=1e6"))


def test_the_verifier_that_would_score_them_is_named(configured: Callable[..., Any]) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^data\.expert_check=stop: the reward scores each of the 30 expert responses 0, .*: "
        r"30 of 30 would be right with reward=numeric; data\.expert_check=warn trains anyway$",
    ):
        checked(configured("reward=text"))


def test_a_limit_that_cuts_them_off_is_named_with_the_one_that_would_not(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ConfigError,
        match=r": longer than rollout\.max_new_tokens=2: 30 of 30 \(100 %\); 9 would fit all;",
    ):
        checked(configured("reward=numeric", "rollout.max_new_tokens=2"))
    assert (
        "expert responses longer than rollout.max_new_tokens=2: 30 of 30 (100 %); 9 would fit all"
    ) in capsys.readouterr().out


def test_a_field_that_holds_the_answers_is_named(
    configured: Callable[..., Any], tmp_path: Path
) -> None:
    write(tmp_path / "p.jsonl", [{**row, "sum": row["answer"], "answer": "0"} for row in ROWS])
    with pytest.raises(
        ConfigError, match=r": 30 of 30 would be right with data\.columns\.answer=sum"
    ):
        checked(configured("reward=numeric"))


def test_wrong_responses_stop_or_warn_with_an_example(
    configured: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [{**row, "response": "I give up."} for row in worked(ROWS[:40])]
    write(tmp_path / "e.jsonl", wrong)
    with pytest.raises(
        ConfigError, match=r"for example, 'I give up\.' where the right answer is '"
    ):
        checked(configured("reward=numeric"))
    capsys.readouterr()
    checked(configured("reward=numeric", "data.expert_check=warn"))
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "reward of the expert responses: 0 of 30 right"
    assert said.err.startswith("warning: reward of the expert responses: 0 of 30 right; for exam")
    checked(configured("reward=numeric", "data.expert_check=skip"))
    assert capsys.readouterr() == ("", "")


def test_a_few_wrong_ones_are_a_warning(
    configured: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = worked(ROWS[:40])
    write(
        tmp_path / "e.jsonl",
        [{**rows[at], "response": "0"} if at % 2 else rows[at] for at in range(40)],
    )
    checked(configured("reward=numeric"))
    said = capsys.readouterr()
    assert "warning: reward of the expert responses: 1" in said.err


def test_of_many_a_sample_is_scored(
    configured: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "AT_START", 10)
    config = parse(configured("reward=numeric"), TrainConfig)
    with open_data(config) as data:
        first, second = (grade_experts(config, data) for _ in range(2))
        assert first is not None
        assert second is not None
        assert first.said() == "10 of 10 right (drawn from 30)"
        assert [pair.problem.key for pair in first.pairs] == [
            pair.problem.key for pair in second.pairs
        ]


def test_a_run_that_could_not_learn_leaves_no_directory(
    configured: Callable[..., Any], tmp_path: Path
) -> None:
    composed = configured("reward=text")
    with pytest.raises(ConfigError, match="expert_check=stop"):
        train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    assert not (tmp_path / "run").exists()


def test_right_answers_that_are_whole_responses_are_warned_about(
    configured: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of one word, that is an answer as any other.
    long = "{} plus {} is what I was asked, so: "
    for words, warned in (("", False), (long, True)):
        rows = [{**row, "answer": f"{words.format('a', 'b')}{row['answer']}"} for row in ROWS]
        write(tmp_path / "p.jsonl", rows)
        write(tmp_path / "e.jsonl", [{**row, "response": row["answer"]} for row in rows[:40]])
        for schedule, unread in (
            ("constant", "for SFT alone use schedule=sft_only data.columns.answer=null"),
            ("sft_only", "data.columns.answer=null reads no right answers"),
        ):
            checked(configured("reward=auto", f"schedule={schedule}"))
            assert capsys.readouterr().err == warned * (
                "warning: the right answer of 30 of 30 problems is the expert's whole response, so "
                f"only that very text is right; {unread}\n"
            )


@pytest.mark.parametrize("reward", ["auto", "numeric", "text"])
def test_a_worked_solution_that_ends_in_its_result_is_no_text_to_be_repeated(
    configured: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], reward: str
) -> None:
    rows = [
        {"question": row["problem"], "answer": f"We add one and the other.\n#### {row['answer']}"}
        for row in ROWS
    ]
    write(tmp_path / "p.jsonl", rows)
    write(tmp_path / "e.jsonl", rows)
    checked(configured(f"reward={reward}"))
    said = capsys.readouterr()
    assert "right\n" in said.out
    assert said.err == ""


@pytest.mark.parametrize("count", ["30 of 30", "each of the first 20"])
def test_a_function_that_fails_says_so_and_where(
    configured: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    count: str,
) -> None:
    said = (
        rf"reward\.function=scorers:never failed on {count} expert responses: the verifier raised "
        r"TypeError: string indices must be integers, not 'str' \(\S+scorers\.py line \d+\)"
    )
    monkeypatch.setattr(isolated, "FIRST", 64 if count == "30 of 30" else 20)
    mine = ("reward=function", "reward.function=scorers:never")
    with pytest.raises(ConfigError, match=f"^{said}$"):
        checked(configured(*mine))
    capsys.readouterr()
    checked(configured(*mine, "data.expert_check=warn", "reward.on_failures=count"))
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(f"warning: {said.replace(count, '30 of 30')}", last)


@pytest.mark.parametrize("expert", ["e.jsonl", "null"])
def test_a_function_that_scores_wrong_responses_below_0_is_refused(
    configured: Callable[..., Any], expert: str
) -> None:
    mine = ("reward=function", "reward.function=scorers:minus_one", f"data.expert={expert}")
    mine = (*mine, *(["schedule=rl_only"] if expert == "null" else []))
    with pytest.raises(ConfigError) as refused:
        checked(configured(*mine))
    assert str(refused.value) == (
        "reward.function=scorers:minus_one: returned -1, and a score is within [0, 1]; for rewards "
        "on another scale set reward.right_from, as in reward.right_from=1"
    )
    checked(configured(*mine, "reward.right_from=1"))
    checked(configured(*mine, "reward.on_failures=count"))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_function_that_calls_everything_right_is_warned_about(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str], weighted: bool
) -> None:
    mine = ("reward=function", "reward.function=scorers:always")
    setting = "reward.function"
    if weighted:
        setting = "reward.parts.answer.function"
        mine = (
            "reward=weighted", "reward@reward.parts.answer=function", f"{setting}=scorers:always"
        )  # fmt: skip
    checked(configured(*mine))
    assert capsys.readouterr().err == (
        f"warning: {setting}=scorers:always: gave another problem's response the score 1, "
        "8 of 8 times; it may call everything right\n"
    )
    checked(configured(*mine, "data.expert_check=skip"))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("expert", ["e.jsonl", "null"])
def test_a_function_that_gives_a_wrong_response_part_of_the_credit_is_warned_about_once(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str], expert: str
) -> None:
    mine = ("reward=function", "reward.function=scorers:partial", f"data.expert={expert}")
    mine = (*mine, *(["schedule=rl_only"] if expert == "null" else []))
    checked(configured(*mine))
    assert capsys.readouterr().err == (
        "warning: reward.function=scorers:partial gives 0.1 to a wrong response, so accuracies are "
        "mean scores; reward.right_from=1 counts right responses alone\n"
    )
    checked(configured(*mine, "reward.right_from=1"))
    checked(configured(*mine, "data.expert_check=skip"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", ["yes", "Stop"])
def test_another_value_is_refused(configured: Callable[..., Any], value: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.expert_check"):
        checked(configured(f"data.expert_check={value}"))


def test_files_have_a_reward_that_reads_their_answers(
    configured: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    composed = configured()
    train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    said = capsys.readouterr().out
    assert "reward=auto: all right answers are compared as numbers (numeric)\n" in said
    assert "reward of the expert responses: 30 of 30 right\n" in said
    write(
        tmp_path / "p.jsonl", [{**row, "answer": "yes"} if row["id"] % 2 else row for row in ROWS]
    )
    composed = configured("data.expert_check=skip")
    train(parse(composed, TrainConfig), RunDirectory(tmp_path / "mixed", composed, "mixed"))
    assert (
        "reward=auto: 30 of 60 right answers are compared as numbers (numeric), the others as texts"
    ) in capsys.readouterr().out


def test_sft_alone_goes_on_without_the_reward(
    configured: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    checked(configured("reward=text", "schedule=sft_only"))
    said = capsys.readouterr()
    assert said.out == "reward of the expert responses: 0 of 30 right\n"
    assert said.err.startswith("warning: reward of the expert responses: 30 of 30 would be right")
