"""Layouts are recognised whatever is set, in whole, and alike for problems and the expert."""

from __future__ import annotations

from pathlib import Path

import pytest
from formats import verl
from texts import TOKENIZER, Row, corpus, refusal, sums, worked, write

from chord.data.columns import Columns
from chord.data.corpus import Corpus
from chord.data.fields import Fields
from chord.data.files import open_rows
from chord.data.jsonl import FilesConfig
from chord.data.layouts import Reading
from chord.data.tables import Experts, Problems


def alpaca(n: int) -> Row:
    about = {"system": "s", "history": [["hi", "yes"]]}
    return {"instruction": "Add one.", "input": f"{n}", "output": f"{n + 1}", **about}


def swift(n: int) -> Row:
    about = {"system": "s", "history": [["hi", f"{n}"]]}
    return {"query": "And one more?", "response": f"{n + 1}", **about}


def asked_by_the_expert(data: Corpus) -> list[str]:
    """Every prompt with its earlier turns, as the expert's rows ask it; none is unknown."""
    assert data.experts is not None
    assert (data.experts.at >= 0).all()
    pairs = [data.experts.pair(row) for row in range(len(data.experts.rows))]
    return ["|".join(turn.content for turn in pair.problem.turns) for pair in pairs]


@pytest.mark.parametrize(
    "columns",
    [
        Columns(),
        Columns(problem="instruction"),
        Columns(response="output"),
        Columns(problem="instruction", response="output"),
        Columns(problem="instruction", response="output", input="input", system="system"),
    ],
)
def test_setting_what_is_recognised_changes_nothing(tmp_path: Path, columns: Columns) -> None:
    path = write(tmp_path / "p.jsonl", [alpaca(n) for n in range(40)])
    data = corpus(path, path, columns=columns)
    assert asked_by_the_expert(data) == [f"s|hi|yes|Add one.\n\n{n}" for n in range(40)]
    # Held-out problems are not imitated.
    assert set(data.overlap().values()) == {len(data.expert_pairs), 0}


@pytest.mark.parametrize("own", [{}, {"id": 1}])
def test_problems_and_an_expert_in_one_file_are_asked_alike(tmp_path: Path, own: Row) -> None:
    rows = [{**swift(n), **dict.fromkeys(own, n)} for n in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    for columns in (Columns(), Columns(problem="query")):
        for expert in (path, link):
            asked = asked_by_the_expert(corpus(path, expert, columns=columns))
            assert asked == [f"s|hi|{n}|And one more?" for n in range(40)]


def test_one_problem_is_not_asked_in_two_ways(tmp_path: Path) -> None:
    rows = [{**row, "instruction": "Add.", "output": "o"} for row in sums(40)]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, path)
    assert data.experts is not None
    assert [data.experts.pair(n).problem.prompt for n in range(40)] == [r["problem"] for r in rows]
    # A field that is set to be something else is no part of the problem.
    path = write(tmp_path / "a.jsonl", [alpaca(n) for n in range(40)])
    data = corpus(path, path, columns=Columns(source="system"))
    assert data.problem_rows.problem(4).source == "s"
    assert [turn.role for turn in data.problem_rows.problem(4).turns] == [
        "user",
        "assistant",
        "user",
    ]


def test_an_expert_with_mostly_other_problems_is_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", sums(40))
    few = corpus(path, write(tmp_path / "e.jsonl", worked(sums(40, start=20)))).report()
    assert not [line for line in few if line.startswith("warning: ")]
    most = corpus(path, write(tmp_path / "e.jsonl", worked(sums(41, start=19)))).report()
    assert not [line for line in most if line.startswith("warning: ")]
    most = corpus(path, write(tmp_path / "e.jsonl", worked(sums(41, start=20)))).report()
    (said,) = [line for line in most if line.startswith("warning: ")]
    assert said.startswith("warning: e.jsonl: 21 of 41 responses are to problems that are not in p")


@pytest.mark.parametrize("lacking", ["input", "system", "history"])
def test_an_optional_field_may_be_missing_in_the_first_row(tmp_path: Path, lacking: str) -> None:
    rows = [alpaca(n) for n in range(40)]
    del rows[0][lacking]
    path = write(tmp_path / "p.jsonl", rows)
    data = corpus(path, path)
    asked = asked_by_the_expert(data)
    assert asked[1:] == [f"s|hi|yes|Add one.\n\n{n}" for n in range(1, 40)]
    assert len(asked[0]) < len(asked[1])
    # What is read is said to be.
    (said,) = data.sources()
    assert f"{lacking}={lacking}" in said
    assert "not read" not in said
    (said,) = [line for line in data.report() if " read as: " in line]
    assert f"{lacking}={lacking}" in said


def test_a_layout_that_names_nothing_else_ends_without_a_semicolon() -> None:
    reading = Reading(Columns(), "messages (TRL, ms-swift)", {"messages": "messages"})
    assert reading.said(["messages"]) == "read as: messages (TRL, ms-swift)"


def test_a_first_solution_without_a_box_is_refused(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "solution": f"So \\boxed{{{n}}}."} for n in range(40)]
    rows[0]["solution"] = "So 0."
    path = write(tmp_path / "p.jsonl", rows)
    said = refusal(lambda: corpus(path, path))
    assert said.startswith(
        "p.jsonl line 1: field solution has no \\boxed{...} with the right answer; "
    )
    whole = corpus(path, path, columns=Columns(answer="solution"))
    assert whole.problem_rows.problem(0).answer == "So 0."
    # An expert's solution need not have one: its problem has the answer.
    asked = write(tmp_path / "q.jsonl", [{"problem": f"{n}?", "answer": n} for n in range(40)])
    data = corpus(asked, path)
    assert data.experts is not None
    assert data.experts.pair(0).problem.answer == "0"


def test_a_row_that_two_readings_ask_differently_is_refused(tmp_path: Path) -> None:
    rows = open_rows("data.problems", str(write(tmp_path / "p.jsonl", [alpaca(n) for n in (1, 2)])))
    problems = Problems(rows, Fields(columns=Columns(problem="instruction"), answers=False))
    fields = Fields(columns=Columns(problem="input", response="output"))
    said = refusal(lambda: Experts(rows, fields, problems))
    assert said.startswith("p.jsonl line 1: read as an expert's, the row has another problem than")


def without(*places: int) -> list[Row]:
    rows: list[Row] = sums(36)
    for place, lost in zip(places, ({}, {"answer": None}, {"answer": " "}, {}), strict=False):
        rows[place] = {"problem": rows[place]["problem"], "note": "n", **lost}
    return rows


@pytest.mark.parametrize("expert", [True, False])
def test_rows_without_an_answer_are_told_together(tmp_path: Path, expert: bool) -> None:
    e = write(tmp_path / "e.jsonl", worked(sums(36))) if expert else None
    path = write(tmp_path / "p.jsonl", without(6, 7, 8, 20))
    assert refusal(lambda: corpus(path, e)).startswith(
        "p.jsonl: 4 of 36 rows have no answer in field answer (first: line 7 missing, line 8 null, "
        "line 9 empty); take them out of the file, or "
    )
    path = write(tmp_path / "p.jsonl", without(6))
    assert refusal(lambda: corpus(path, e)) == (
        "p.jsonl line 7: field answer is missing; there are: problem, note (data.columns names "
        "fields, as in data.columns.answer=note)"
    )


def test_a_first_row_without_an_answer_is_no_file_without_answers(tmp_path: Path) -> None:
    e = write(tmp_path / "e.jsonl", worked(sums(36)))
    said = corpus(write(tmp_path / "p.jsonl", without(0)), e).unanswered
    assert said is not None
    assert said.startswith("p.jsonl: 1 of 36 rows have no answer in field answer (first: line 1 mi")


def test_why_there_are_no_answers_is_said(tmp_path: Path) -> None:
    def why(rows: list[Row], columns: Columns) -> str | None:
        path = write(tmp_path / "p.jsonl", rows)
        return corpus(path, path, columns=columns).unanswered

    rows = [{**row, "response": "r"} for row in sums(40)]
    assert refusal(lambda: why(rows, Columns(answer="anwser"))) == (
        "data.columns.answer=anwser: p.jsonl has no such field; did you mean 'answer'? (allowed: "
        "id, problem, answer, response)"
    )
    assert why(rows, Columns(answer=None)) == "data.columns.answer=null: reads no right answers"
    said = why([alpaca(n) for n in range(40)], Columns())
    assert said is not None
    assert said.startswith("p.jsonl: was recognised as instruction and output (Alpaca), and has no")
    own = write(tmp_path / "o.jsonl", [{"frage": "1?", "antwort": "1"}])
    assert refusal(lambda: corpus(own)).endswith(", as in data.columns.problem=frage)")
    said = refusal(lambda: corpus(own, columns=Columns(problem="frage")))
    assert said.endswith(", as in data.columns.answer=antwort)")


def test_problems_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    for repeated, said in (
        (0, "p.jsonl: 40 problems; "),
        (1, "p.jsonl: 41 rows, 40 problems (1 row repeats another and is left out); "),
        (2, "p.jsonl: 42 rows, 40 problems (2 rows repeat others and are left out); "),
    ):
        rows = [*sums(40), *({"problem": "4+4?", "answer": 8} for _ in range(repeated))]
        report = corpus(write(tmp_path / "p.jsonl", rows)).report()
        assert [line for line in report if line.startswith(said)]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        # The first row alone would have been read by another field, and with it all others.
        (
            [{"problem": f"{n}?", "solution": "long", **({} if n == 0 else {"answer": n})}
             for n in range(40)],
            {"answer": "answer", "response": "solution"},
            "p.jsonl line 1: field answer is missing",
        ),
        (
            [{"question": f"{n}?", "answer": f"#### {n}", **({} if n < 2 else {"response": "r"})}
             for n in range(40)],
            {"answer": "answer", "response": "response"},
            "p.jsonl line 1: field response is missing",
        ),
        (
            [{**verl(n), **({} if n == 0 else {"response": "r"})} for n in range(40)],
            {"answer": "reward_model.ground_truth", "response": "response"},
            "p.jsonl line 1: field prompt must end with a turn of the assistant",
        ),
        (
            [{"query": f"{n}?", "response": "r", "solution": "long",
              **({} if n % 2 else {"ground_truth": n})} for n in range(1, 41)],
            {"answer": "ground_truth"},
            "p.jsonl: 20 of 40 rows have no answer in field ground_truth (first: line 1 missing",
        ),
    ],
)  # fmt: skip
def test_the_first_row_does_not_choose_the_field_for_all(
    tmp_path: Path, rows: list[Row], columns: Row, message: str
) -> None:
    path = write(tmp_path / "p.jsonl", rows)
    for imitated in (False, True):
        read = Fields.of(
            open_rows("data.problems", str(path)), Columns(), "{problem}", expert=imitated
        )
        wanted = {name: column for name, column in columns.items() if imitated or name == "answer"}
        assert {name: getattr(read.columns, name) for name in wanted} == wanted
    expert = None if "answer" in message else path
    assert refusal(lambda: corpus(path, expert)).startswith(message)


def test_sft_alone_needs_no_answer_in_any_row(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", without(7))
    expert = write(tmp_path / "e.jsonl", worked(sums(36)))
    config = FilesConfig(problems=str(path), expert=str(expert))
    assert refusal(lambda: config.build(TOKENIZER)).startswith("p.jsonl line 8: field answer is mi")
    data = config.build_unscored(TOKENIZER)
    assert data.unanswered is not None
    assert {problem.answer for problem in data.problems(0, 0, 9)} == {""}
    assert (
        "p.jsonl: 1 of 36 rows have no answer in field answer (the first: p.jsonl line 8), so "
        "right answers are not used, and no response is scored"
    ) in data.report()
    # Where no row lacks one, evaluations score with the answers.
    whole = FilesConfig(problems=str(write(tmp_path / "w.jsonl", sums(36))), expert=str(expert))
    assert whole.build_unscored(TOKENIZER).unanswered is None
