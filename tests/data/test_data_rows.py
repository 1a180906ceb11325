"""Fields of a row: what is read of them, and which are refused by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from texts import corpus, refusal, sums, worked, write

from chord.data.fields import Fields
from chord.data.files import open_rows

ROWS = sums(25)


def test_a_number_is_read_as_it_is_written_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for written in ("1000000000000000000000000000031", "-18446744073709551617", "9007199254740993"):
        path.write_text(f'{{"problem": "1", "answer": {written}, "other": [{written}]}}')
        (row,) = open_rows("data.problems", str(path))
        assert Fields().problem(row).answer == written
        assert row["other"] == [int(written)]
    for written in ("1e30", "-9007199254740993.0", "9007199254740992.0"):
        path.write_text(f'{{"problem": "1", "answer": {written}}}')
        assert refusal(lambda: corpus(path)) == (
            f"p.jsonl line 1: field answer is {float(written)}, which is not an exact number; "
            "write it as text"
        )
    table = tmp_path / "p.parquet"
    for value in (1e30, float("nan"), float("-inf")):
        rows = [{"problem": "1", "answer": 2.5}, {"problem": "2", "answer": value}]
        parquet.write_table(pyarrow.Table.from_pylist(rows), table)
        said = refusal(lambda: corpus(table))
        assert said.startswith(
            f"p.parquet row 2: field answer is {value}, which is not an exact number"
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 4}, "field problem or messages is missing; there are: answer"),
        ({"problem": "2+2?"}, "field answer is missing; there are: problem"),
        ({"problem": "2+2?", "answer": []}, "field answer is an empty list, must be text or a num"),
        (
            {"problem": "2+2?", "answer": [[4]]},
            "field answer: element 1 is a list, must be text",
        ),
        (
            {"problem": "2+2?", "answer": {"is": 4}},
            "field answer is an object, must be text or",
        ),
        ({"problem": ["2+2?"], "answer": 4}, "field problem is a list, must be text"),
        ({"problem": "2+2?", "answer": True}, "field answer is true or false, must be text or a"),
        ({"problem": "2+2?", "answer": None}, "field answer is null, must be text or a number"),
        ({"problem": " ", "answer": 4}, "field problem is empty, must be text"),
        ({"problem": {}, "answer": 4}, "field problem is an object, must be text"),
        ({"messages": "2+2?", "answer": 4}, "field messages is empty, must be a list of messages"),
        (
            {"messages": [{"role": "user", "content": 4}], "answer": 4},
            "field messages: content of message 1 is a number, must be text",
        ),
        (
            {"messages": [{"role": "assistant", "content": "hi"}], "answer": 4},
            "field messages must have a turn of the user before the assistant's",
        ),
    ],
)
def test_a_wrong_field_of_a_problem_is_named(tmp_path: Path, row: dict[str, object], message: str):
    path = write(tmp_path / "p.jsonl", [*ROWS[:16], row])
    said = refusal(lambda: corpus(path))
    assert said.startswith(f"p.jsonl line 17: {message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "2+2?", "completion": "4"}, "field response or messages is missing; there are"),
        ({"response": "4"}, "has none of the fields problem, messages, id, so it names no problem"),
        ({"problem": "2+2?", "response": ["4"]}, "field response: content of message 1 is null, m"),
        ({"problem": "2+2?", "response": {"a": "4"}}, "field response is an object, must be text"),
        ({"problem": "2+2?", "response": ""}, "field response is empty, must be text"),
        ({"id": 99, "response": "4"}, "field id is that of no problem of p.jsonl"),
        (
            {"id": 3, "problem": "4+4?", "response": "8"},
            "field id is that of another problem, p.jsonl line 4; if the two files are numbered",
        ),
        (
            {"messages": [{"role": "user", "content": "2+2?"}]},
            "field messages must end with a turn of the assistant",
        ),
    ],
)
def test_a_wrong_field_of_an_experts_row_is_named(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    expert = write(tmp_path / "e.jsonl", [*worked(ROWS[:2]), row])
    said = refusal(lambda: corpus(path, expert))
    assert said.startswith(f"e.jsonl line 3: {message}")


def test_an_id_of_two_problems_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [*ROWS, {**ROWS[5], "problem": "other"}])
    expert = write(tmp_path / "e.jsonl", [{"id": 5, "response": "10"}])
    with pytest.raises(ValueError, match=r"p.jsonl line 26: field id is also .* p.jsonl line 6"):
        corpus(path, expert)
