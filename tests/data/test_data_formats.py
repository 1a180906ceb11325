"""Files in the layouts that other projects write: what is read from each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from formats import FORMATS, Row, rows_of, says, verl
from texts import corpus, refusal, sums, write

from chord.data.base import SPLITS
from chord.data.batch import Pair
from chord.data.columns import Columns
from chord.data.corpus import Corpus
from chord.data.grading import Grade, Scorer
from chord.data.split import key_of
from chord.make_expert import _row
from chord.rewards import Numeric


def pair_of(data: Corpus, row: int) -> Pair:
    assert data.experts is not None
    return data.experts.pair(row)


@pytest.mark.parametrize("name", FORMATS)
def test_a_layout_is_recognised_and_said(tmp_path: Path, name: str) -> None:
    known = FORMATS[name]
    path = write(tmp_path / "p.jsonl", rows_of(name))
    data = corpus(path, path)
    pair = pair_of(data, 4)
    assert (pair.problem.prompt, pair.response) == (known.prompt, known.response)
    assert tuple(turn.role for turn in pair.problem.turns) == known.roles
    assert tuple(turn.content for turn in pair.turns) == known.written
    problem = data.problem_rows.problem(4)
    assert (problem.answer, problem.others) == (known.answer, known.others)
    assert problem.key == pair.problem.key
    assert (data.unanswered is None) == bool(known.answer)
    assert data.problem_rows.repeated == 0
    said = [line for line in data.report() if " read as: " in line]
    assert (known.said is None) == (said == [])
    assert all(line.startswith("p.jsonl read as: ") for line in said)
    assert known.said is None or said[0].removeprefix("p.jsonl read as: ") == known.said


def test_settings_go_before_what_is_recognised(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{**verl(n), "other": f"o{n}"} for n in range(40)])
    columns = Columns(response="other", answer="extra_info.index", source="ability")
    data = corpus(path, path, columns=columns)
    pair = pair_of(data, 4)
    assert (pair.problem.prompt, pair.response, pair.problem.answer) == ("4+1?", "o4", "4")
    assert pair.problem.source == "math"


def test_fields_may_be_inside_others(tmp_path: Path) -> None:
    rows = [{"q": {"text": f"{n}?"}, "a": [{"is": n}, 7], "a.0": "x"} for n in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, columns=Columns(problem="q.text", answer="a.0.is"))
    assert data.problem_rows.problem(4).answer == "4"
    # A field with the whole name is meant first.
    data = corpus(path, columns=Columns(problem="q.text", answer="a.0"))
    assert data.problem_rows.problem(4).answer == "x"
    for name, near in (
        ("a.7", "; did you mean 'a.0'? (allowed: a.0, a.1)"),
        ("q.text.0", "; there are no fields in q.text"),
        ("q.txet", "; did you mean 'q.text'? (allowed: q.text)"),
    ):
        said = refusal(lambda: corpus(path, columns=Columns(problem="q.text", answer=name)))  # noqa: B023
        assert said == f"data.columns.answer={name}: p.jsonl has no such field{near}"


class Same(Scorer):
    """Right where a response is the answer; fails at the answer `bad`."""

    def graded(self, problems: Any, responses: Any, lengths: Any) -> list[Grade]:
        return [
            Grade.failed("bad") if problem.answer == "bad" else Grade(float(same), same / 2)
            for problem, response in zip(problems, responses, strict=True)
            for same in (problem.answer == response,)
        ]


def test_any_of_several_answers_is_right(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "answer": ["bad", str(n), "some"]} for n in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path)
    assert "p.jsonl: 40 problems have several right answers, any of which counts" in data.report()
    problem = data.problem_rows.problem(4)
    asked = [problem] * 4
    grades = Same().grade(asked, ["4", "some", "5", "4"], [1] * 4, [True, True, True, False])
    assert [grade.score for grade in grades] == [1, 1, 0, 0]
    assert [grade.reward for grade in grades] == [0.5, 0.5, 0, 0]
    assert not any(grade.failure for grade in grades)
    seen: list[str] = []
    data.check(lambda each: seen.append(each.answer))
    assert sorted(set(seen) & {"bad", "some"}) == ["bad", "some"]
    assert len(seen) == 3 * 40
    assert Numeric().grade(asked[:1], ["The answer is 4"], [1])[0].score == 1


def test_right_answers_alone_make_no_other_problem(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "answer": [str(n), "x"]} for n in range(40)]
    path = write(tmp_path / "p.jsonl", [*rows, {"problem": "4?", "answer": "4"}, rows[5]])
    text = "\n".join(corpus(path).report())
    assert "(2 rows repeat others and are left out, 1 with another answer); " in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"messages": [says("user", "1?"), {"role": "assistant", "tool_calls": [{"a": 1}]}]},
            "field messages: message 2 calls a tool; chord trains on turns of text alone",
        ),
        (
            {"messages": [says("user", "1?"), says("tool", "2"), says("assistant", "2")]},
            "field messages: message 2 is of a tool; chord trains on",
        ),
        (
            {"messages": [says("user", "1?"), says("assistant", "2")], "tools": [{"name": "f"}]},
            "field tools describes tools; chord trains on turns of text alone, so leave such rows",
        ),
    ],
)
def test_tool_calls_are_refused(tmp_path: Path, row: Row, message: str) -> None:
    good = {"messages": [says("user", "0?"), says("assistant", "0")], "tools": []}
    path = write(tmp_path / "e.jsonl", [good, row])
    problems = write(tmp_path / "p.jsonl", sums(40))
    assert refusal(lambda: corpus(problems, path)).startswith(f"e.jsonl line 2: {message}")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("trl_messages", {"completion": [says("user", "a")]}, "field completion must end with a t"),
        (
            "trl_messages",
            {"completion": [{"role": "assistant", "content": None, "tool_calls": [{"a": 1}]}]},
            "field completion: message 1 calls a tool; ",
        ),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "f"}]}, "field conver"),
        (
            "sharegpt",
            {"conversations": [{"from": "bot", "value": "f"}]},
            "field conversations: from of message 1 is 'bot', must be one of human, user, gpt, ",
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": ""}]},
            "field conversations: value of message 1 is empty, must be text",
        ),
        ("math", {"solution": "a proof"}, "field solution has no \\boxed{...} with the right ans"),
        ("math", {"solution": "\\boxed{1"}, "field solution has no \\boxed{...} with the right an"),
        ("swift", {"history": [["a"]]}, "field history: element 1 must be a question with its an"),
        ("swift", {"history": [["a", 1]]}, "field history: assistant of message 1 is a number, m"),
        ("alpaca", {"input": 7}, "field input is a number, must be text"),
        ("luffy", {"target": []}, "field target is an empty list, must be "),
        (
            "verl",
            {"reward_model": {"ground_truth": ["1", None]}},
            "field reward_model.ground_truth: element 2 is null, must be text or a number",
        ),
        ("verl", {"reward_model": {}}, "field reward_model.ground_truth is missing; there are: "),
        ("openr1", {"generations": []}, "field generations.0 is missing; there are: problem, "),
    ],
)
def test_a_row_that_is_unlike_the_others_is_named(
    tmp_path: Path, name: str, row: Row, message: str
) -> None:
    path = write(tmp_path / "p.jsonl", [*rows_of(name, 3), {**FORMATS[name].row(3), **row}])
    said = refusal(lambda: corpus(path, path))
    assert said.startswith(f"p.jsonl line 4: {message}")
    assert said.endswith(f"; the first row was read as: {FORMATS[name].said}")


@pytest.mark.parametrize(("first", "later"), [("gsm8k", "alpaca"), ("sharegpt", "trl")])
def test_a_row_in_another_layout_is_named_with_what_was_recognised(
    tmp_path: Path, first: str, later: str
) -> None:
    path = write(tmp_path / "p.jsonl", [*rows_of(first, 2), *rows_of(later, 2)])
    said = refusal(lambda: corpus(path, path))
    assert said.startswith("p.jsonl line 3: field ")
    assert said.endswith(f"; the first row was read as: {FORMATS[first].said}")
    # Of the first row itself there is nothing else to be said.
    path = write(tmp_path / "p.jsonl", [{"question": ["no text"], "answer": "1"}])
    assert "the first row" not in refusal(lambda: corpus(path))


def test_a_template_may_name_any_field(tmp_path: Path) -> None:
    rows = [{**row, "topic": "sums", "of": {"n": n}} for n, row in enumerate(sums(40))]
    twice = [*rows, {**rows[4], "topic": "others"}]
    path = write(tmp_path / "p.jsonl", twice)
    template = "{topic}/{of.n}: {problem} as \\boxed{} {{problem}} { x }"
    expert = write(tmp_path / "e.jsonl", [{"id": 4, "response": "8"}, {**rows[5], "response": "1"}])
    data = corpus(path, columns=Columns(id=None), prompt_template=template)
    assert data.problem_rows.problem(4).prompt == "sums/4: 4+4? as \\boxed{} {problem} { x }"
    # What the template puts in makes another problem of it.
    assert data.problem_rows.repeated == 0
    assert corpus(path, columns=Columns(id=None)).problem_rows.repeated == 1
    write(path, rows)
    data = corpus(path, expert, prompt_template=template, expert_pairs=None)
    assert [pair_of(data, row).problem.prompt[:7] for row in range(2)] == ["sums/4:", "sums/5:"]


def test_what_a_template_adds_is_part_of_the_rows_of_a_new_expert(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{**row, "topic": "sums"} for row in sums(40)])
    data = corpus(path, prompt_template="{topic}: {problem}")

    class Demonstrator:
        pass

    teacher = Demonstrator()
    teacher.data = data  # type: ignore[attr-defined]
    row = _row(teacher, data.problem_rows.problem(4), "8")  # type: ignore[arg-type]
    assert row == {"problem": "4+4?", "answer": "8", "topic": "sums", "response": "8"}
    again = corpus(
        path,
        write(
            tmp_path / "e.jsonl", [row] * 2 + [_row(teacher, each, "1") for each in data.every()]
        ),
        prompt_template="{topic}: {problem}",
    )  # type: ignore[arg-type]
    assert pair_of(again, 0).problem.key == data.problem_rows.problem(4).key


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{problem} {nope}",
            "p.jsonl line 1: data.prompt_template names a field nope, which",
        ),
        (
            "{problem} {topic}",
            "p.jsonl line 31: data.prompt_template names a field topic, which",
        ),
        (
            "{problem} {list}",
            "p.jsonl line 1: field list of data.prompt_template is a list, must",
        ),
        (
            "{problem} {answer}",
            "data.prompt_template={problem} {answer}: {answer} would show",
        ),
        ("{ problem }", "data.prompt_template={ problem }: must hold {problem}, or another field"),
    ],
)
def test_a_template_is_checked_on_every_row(tmp_path: Path, template: str, message: str) -> None:
    rows = [{**row, "topic": "sums", "list": [1]} for row in sums(40)]
    del rows[30]["topic"]
    path = write(tmp_path / "p.jsonl", rows)
    assert refusal(lambda: corpus(path, prompt_template=template)).startswith(message)


def test_no_validation_moves_no_problem_of_the_test_split(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sums(200))
    one, other = corpus(path), corpus(path, validation="0")
    assert list(one.held_out("test")) == list(other.held_out("test"))
    assert len(other.held_out("validation")) == 0
    assert len(other.train) == len(one.train) + len(one.held_out("validation"))
    assert [len(other.held_out_pairs(split)) for split in SPLITS] == [0, 0]


def test_what_was_read_before_is_in_the_same_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sums(60))
    # By the hash of the text alone, as ever.
    assert [problem.key for problem in corpus(path).every()] == sorted(
        key_of(row["problem"]) for row in sums(60)
    )
    assert key_of("4+4?") == 271308318694969558
