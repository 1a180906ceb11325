"""Layouts are recognised whatever is set, in whole, and alike for problems and the expert."""

from __future__ import annotations

from pathlib import Path

import pytest
from texts import Row, corpus, refusal, sums, worked, write

from chord.data.columns import Columns
from chord.data.corpus import Corpus


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
