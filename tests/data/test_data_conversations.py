"""Conversations as data: what of them is the problem, and what is imitated."""

from __future__ import annotations

from pathlib import Path

from language_models import make_model, make_tokenizer
from texts import corpus, refusal, sums, worked, write

from chord.data.base import Room
from chord.data.jsonl import FilesConfig
from chord.data.split import key_of
from chord.models.hf.config import HFModel
from chord.models.hf.tokenizer import LanguageTokenizer

ROWS = sums(200)
EXPERT = worked(ROWS[:80])


def said(*turns: str) -> list[dict[str, str]]:
    """Messages: the system's, then the user's and the assistant's in turn."""
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    return [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]


def test_a_problem_is_the_conversation_up_to_the_users_last_turn(tmp_path: Path) -> None:
    rows = [
        {"messages": said("Be brief.", f"Hi {n}", "Yes?", f"{n}+1?"), "answer": n + 1}
        for n in range(60)
    ]
    # An answer behind it, here wrong, makes no difference.
    for row in rows[::2]:
        row["messages"] = said(*(turn["content"] for turn in row["messages"]), "0")
    path = write(tmp_path / "c.jsonl", rows)
    data = corpus(path)
    for problem in (*data.held_out("test"), *data.problems(0, 0, 8)):
        n = int(problem.answer) - 1
        assert [turn.content for turn in problem.turns] == [
            "Be brief.",
            f"Hi {n}",
            "Yes?",
            f"{n}+1?",
        ]
        assert problem.prompt == f"{n}+1?"
        # The system's turn is no part of what makes a problem another one.
        assert problem.key == key_of(f"Hi {n}\nYes?\n{n}+1?")


def test_an_answer_is_what_goes_on_from_the_longest_problem(tmp_path: Path) -> None:
    def answered(*asked: list[dict[str, str]]) -> dict[str, list[str]]:
        """By the first question, what the expert's turns are: `+` where there are several."""
        rows = [{"messages": turns, "answer": "1"} for turns in asked]
        path = write(tmp_path / "p.jsonl", [*rows, *ROWS])
        pairs = corpus(path, expert).experts
        assert pairs is not None
        found = [pairs.pair(index) for index in range(2)]
        return {
            "problems": [pair.problem.turns[-1].content for pair in found if pair.problem.turns],
            "answers": [
                "+".join(turn.content for turn in pair.turns) or pair.response for pair in found
            ],
            "known": [pair.problem.answer for pair in found],
        }

    whole = said("Be brief.", "Hi", "Yes?", "2+1?", "3")
    expert = write(tmp_path / "e.jsonl", [
        {"messages": whole}, {"messages": said("Be brief.", "Hello", "3")}, *EXPERT
    ])  # fmt: skip
    alone = {"problems": ["Hi", "Hello"], "answers": ["Yes?+2+1?+3", "3"], "known": ["", ""]}
    assert answered() == alone
    assert answered(whole[:2]) == alone | {"known": ["1", ""]}
    later = {"problems": ["2+1?", "Hello"], "answers": ["3", "3"], "known": ["1", ""]}
    # The whole conversation asks its last question too.
    for problem in (whole[:4], whole):
        assert answered(problem) == answered(whole[:2], problem) == later


def test_a_response_beside_messages_answers_their_last_question(tmp_path: Path) -> None:
    asked = said("Be brief.", "Hi", "Yes?", "2+1?", "3", "sure?")
    path = write(tmp_path / "p.jsonl", ROWS)
    for messages in (asked, [*asked, {"role": "assistant", "content": "yes"}]):
        expert = write(tmp_path / "e.jsonl", [{"messages": messages, "response": "yes"}, *EXPERT])
        pairs = corpus(path, expert).experts
        assert pairs is not None
        pair = pairs.pair(0)
        assert (pair.response, pair.turns) == ("yes", ())
        assert [turn.content for turn in pair.problem.turns] == [each["content"] for each in asked]
    write(expert, [{"messages": asked[:5], "response": "four"}])
    assert refusal(lambda: corpus(path, expert)).startswith(
        "e.jsonl line 1: field messages goes on behind the user's last turn otherwise than field "
        "response"
    )


def test_a_conversation_that_a_template_cannot_write_is_named(tmp_path: Path) -> None:
    inner = make_tokenizer()
    inner.chat_template = "{{ messages | length }}" + str(inner.chat_template)
    tokenizer = LanguageTokenizer(inner=inner, name="m", vocab_size=len(inner))
    expert = write(
        tmp_path / "e.jsonl", [*EXPERT, {"messages": said("", "1?", "2", "3?", "4")[1:]}]
    )
    config = FilesConfig(problems=str(write(tmp_path / "p.jsonl", ROWS)), expert=str(expert))
    data = config.build(tokenizer)
    message = refusal(lambda: data.fit(Room(context=500, rollout=20, evaluation=10)))
    assert message.startswith("e.jsonl line 81: model.path=m: its chat template writes an answer")


def test_the_longest_prompt_may_be_any_of_many_conversations(tmp_path: Path) -> None:
    def asked(n: int) -> list[dict[str, str]]:
        said = "so " * (9 if n == 599 else 1)  # far back in the order of the hash
        return [{"role": "system", "content": said}, {"role": "user", "content": f"{n}?"}]

    rows = [{"messages": asked(n), "answer": n} for n in range(600)]
    tokenizer = HFModel(path=str(make_model(tmp_path / "model"))).tokenizer()
    data = FilesConfig(problems=str(write(tmp_path / "p.jsonl", rows))).build(tokenizer)
    lengths = [len(tokenizer.prompt(problem)) for problem in data.every()]
    assert len(lengths) == 600
    assert data.longest_prompt == max(lengths)
