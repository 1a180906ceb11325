"""Fields that the user names: one that no row has is refused, with those that may be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from texts import TOKENIZER, refusal, write

from chord.data.columns import Columns
from chord.data.jsonl import FilesConfig

ROWS = [
    {
        "Frage": f"{n}?",
        "completion": f"it is {n}",
        "meta": {"gold": {"latex": f"{n}", "plain": n}, "level": 1},
        "id": n,
    }
    for n in range(40)
]


def built(path: Path, scored: bool, **columns: str) -> None:
    columns = {"problem": "Frage", "response": "completion", **columns}
    config = FilesConfig(problems=str(path), expert=str(path), columns=Columns(**columns))
    (config.build if scored else config.build_unscored)(TOKENIZER)


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize(
    ("column", "name", "near"),
    [
        ("answer", "meta.gold.latx", "did you mean 'meta.gold.latex'? (allowed: meta.gold.latex, "),
        ("answer", "mta.gold", "did you mean 'meta'? (allowed: Frage, completion, meta, id)"),
        ("source", "meta.leveel", "did you mean 'meta.level'? (allowed: meta.gold, meta.level)"),
        ("system", "meta.level.x", "there are no fields in meta.level"),
        ("problem", "frage", "did you mean 'Frage'? "),
        ("response", "complete", "did you mean 'completion'? "),
        ("id", "idd", "did you mean 'id'? "),
    ],
)
def test_a_named_field_that_no_row_has_is_refused(
    tmp_path: Path, column: str, name: str, near: str, scored: bool
) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    built(path, scored=False, source="meta.level")
    said = refusal(lambda: built(path, scored, **{column: name}))
    assert said.startswith(f"data.columns.{column}={name}: p.jsonl has no such field; {near}")


def test_a_named_field_may_be_in_one_row_or_one_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [*ROWS, {**ROWS[0], "topic": "last"}])
    built(path, scored=False, source="topic")
    (tmp_path / "e").mkdir()
    expert = write(tmp_path / "e" / "e.jsonl", [{"id": 1, "said": "1"}])
    problems = write(tmp_path / "q.jsonl", [{"id": n, "q": f"{n}?", "a": n} for n in range(40)])
    columns = Columns(problem="q", answer="a", response="said")
    FilesConfig(problems=str(problems), expert=str(expert), columns=columns).build(TOKENIZER)


def test_of_an_object_the_fields_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    assert refusal(lambda: built(path, scored=False, answer="meta.gold")) == (
        "p.jsonl line 1: field meta.gold is an object, must be text or a number; its fields are "
        "meta.gold.latex, meta.gold.plain"
    )
    assert refusal(lambda: built(path, scored=False, problem="meta")) == (
        "p.jsonl line 1: field meta is an object, must be text; its fields are meta.gold, "
        "meta.level"
    )


def test_an_empty_cell_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("instruction,input,output\nadd,1,2\nadd,2,\n")
    config = FilesConfig(problems=str(path), expert=str(path))
    said = refusal(lambda: config.build_unscored(TOKENIZER))
    assert said.startswith("p.csv line 3: field output is empty (")


def test_problems_with_several_answers_are_counted_once(tmp_path: Path) -> None:
    rows = [{"problem": f"{n}?", "answer": [n, n + 1]} for n in range(40)]
    path = write(tmp_path / "p.jsonl", [*rows, *rows[:6]])
    said = FilesConfig(problems=str(path)).build(TOKENIZER).report()
    assert "p.jsonl: 40 problems have several right answers, any of which counts" in said
