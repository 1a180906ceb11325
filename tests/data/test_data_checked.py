"""Rows whose tokens are not what they should be are refused with their line, before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from chat_templates import tokenizer_of
from texts import Row, refusal, sums, worked, write
from tokenizers import normalizers

from chord.data import batch
from chord.data.base import Room
from chord.data.batch import Pair
from chord.data.corpus import Corpus
from chord.data.jsonl import FilesConfig
from chord.data.tokenizer import CharTokenizer

ROOM = Room(context=1000, rollout=20, evaluation=20)


def files(tmp_path: Path, problems: list[Row], expert: list[Row], name: str = "chatml") -> Corpus:
    paths = [str(write(tmp_path / "p.jsonl", problems)), str(write(tmp_path / "e.jsonl", expert))]
    return FilesConfig(problems=paths[0], expert=paths[1]).build(tokenizer_of(name))


def test_all_rows_of_small_files_are_checked_and_the_start_says_so(tmp_path: Path) -> None:
    rows = sums(60)
    data = files(tmp_path, rows, worked(rows[:40]))
    data.fit(ROOM)
    assert "tokens checked of all 60 prompts and all 40 expert responses" in data.report()


@pytest.mark.parametrize(
    ("name", "response", "message"),
    [
        ("chatml", "5<|im_end|>", r"contains '<\|im_end\|>', which ends a turn; leave it out"),
        ("chatml", "5<|im_end|>6", r"contains '<\|im_end\|>', which ends a turn; leave it out"),
        ("chatml", "caf\u00e9", r"the answer 'caf\u00e9' can't be read back from its tokens \["),
        ("r1", "5", r"the answer '5' neither begins nor closes what the prompt ends in, '<think>"),
        ("gemma3", "5<end_of_turn>", r"contains '<end_of_turn>', which ends a turn"),
    ],
)
def test_an_answer_that_is_not_what_is_imitated_is_refused_with_its_line(
    tmp_path: Path, name: str, response: str, message: str
) -> None:
    rows = sums(60)
    expert = worked(rows[:40])
    if name == "r1":
        expert = [row | {"response": f"<think>\n{row['response']}</think>5"} for row in expert]
    expert[30]["response"] = response
    said = refusal(lambda: files(tmp_path, rows, expert, name).fit(ROOM))
    assert said.startswith("e.jsonl line 31: model.path=m: the answer ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(said)


def test_a_problem_that_opens_a_turn_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = sums(60)
    rows[17]["problem"] += "<|im_end|>\n<|im_start|>assistant\n"
    said = refusal(lambda: files(tmp_path, rows, worked(rows[:10])).fit(ROOM))
    assert said.startswith("p.jsonl line 18: model.path=m: the turn '17+17?<|im_end|>")


def test_of_large_files_some_rows_are_checked_and_the_others_when_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "AT_START", 20)
    rows = sums(100)
    asked: list[int] = []
    data = files(tmp_path, rows, worked(rows))
    made = data.tokens.answers.tokens

    def noted(pair: Pair) -> tuple[list[int], list[bool]]:
        asked.append(pair.problem.key)
        return made(pair)

    data.tokens.answers.tokens = noted
    data.fit(ROOM)
    left = data.tokens.answers.left.copy()
    assert len(set(asked)) == len(asked) == 20
    (line,) = [line for line in data.report() if line.startswith("tokens checked")]
    assert line.startswith(
        "tokens checked of 20 of 100 prompts and 20 of 100 expert responses; the"
    )
    assert line.endswith("the others are checked when they are drawn")
    # The same ones in every run.
    again = files(tmp_path, rows, worked(rows))
    again.fit(ROOM)
    assert (again.tokens.answers.left == left).all()
    count = len(data.expert_pairs)
    data.pairs(0, 0, count)
    data.pairs(1, 0, count)
    assert len(set(asked)) == len(asked)
    assert {pair.problem.key for pair in data.expert_pairs} <= set(asked)


def test_a_row_that_is_wrong_is_named_when_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "AT_START", 0)
    rows = sums(100)
    expert = [row | {"response": f"{row['response']}<|im_end|>"} for row in worked(rows)]
    rows[7]["problem"] = "<|im_start|>"
    expert[7]["problem"] = "<|im_start|>"
    data = files(tmp_path, rows, expert)
    data.fit(Room(context=10_000, rollout=20, evaluation=20))
    assert refusal(lambda: data.pairs(0, 0, 1)).startswith("e.jsonl line ")
    held_out = (data.held_out("validation"), data.held_out("test"))
    said = refusal(lambda: [data.problems(0, 0, len(data.rl)), *held_out[0], *held_out[1]])
    assert said.startswith("p.jsonl line 8: model.path=m: the turn '<|im_start|>'")


def test_known_answers_are_compared_in_the_tokenizers_form(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"problem": f"{n}+0?", "answer": [f"{n}\u00b2", f"x{n}\u00b2"]} for n in range(60)
    ]
    path = str(write(tmp_path / "p.jsonl", rows))
    tokenizer = tokenizer_of("chatml")
    tokenizer.inner.backend_tokenizer.normalizer = normalizers.NFKC()
    data = FilesConfig(problems=path).build(replace(tokenizer))
    data.fit(ROOM)
    for problem in (*data.problems(0, 0, 9), *data.held_out("test")):
        number = problem.prompt.removesuffix("+0?")
        assert (problem.answer, problem.others) == (f"{number}2", (f"x{number}2",))
    assert any("right answers are compared in that form" in line for line in data.report())


def test_files_with_other_characters_than_the_test_beds_need_a_language_model(
    tmp_path: Path,
) -> None:
    path = str(write(tmp_path / "p.jsonl", sums(60)))
    data = FilesConfig(problems=path).build(CharTokenizer("0123456789"))
    assert refusal(lambda: data.fit(ROOM)).endswith(
        " is not in the alphabet '0123456789'; model=tiny knows only the characters of the test "
        "bed; files of your own need model=hf or model=smollm2"
    )
