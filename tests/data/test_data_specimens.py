"""Files and rows that could be read as something else than they say: read in full, or refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from texts import refusal

from chord.data.columns import Columns
from chord.data.fields import Fields
from chord.data.files import open_rows
from chord.data.layouts import recognised
from chord.data.row_checks import trouble
from chord.data.rows import Listed, Row

ONE, TWO = (json.dumps({"problem": f"{n}?", "answer": n}).encode() + b"\n" for n in (1, 2))


def packed(content: bytes) -> bytes:
    # Without the time: names of tests must be the same in all processes.
    return gzip.compress(content, mtime=0)


def problems(path: Path) -> list[str]:
    return [row["problem"] for row in open_rows("data.problems", str(path))]


def compressed(*parts: bytes) -> bytes:
    """Frames of zstd, one behind the other."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    frames = b""
    for part in parts:
        sink = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(part)
        frames += sink.getvalue().to_pybytes()
    return frames


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + ONE + TWO),
        ("bom.json", b"\xef\xbb\xbf[" + ONE + b"," + TWO + b"]"),
        ("crlf.jsonl", ONE.replace(b"\n", b"\r\n") + TWO.replace(b"\n", b"\r\n")),
        ("bom.csv", b'\xef\xbb\xbf"problem","answer"\r\n1?,1\r\n2?,2\r\n'),
        ("upper.CSV", b"problem,answer\n1?,1\n\n2?,2"),
        ("members.jsonl.gz", packed(ONE) + packed(TWO)),
        ("upper.JSONL.gz", packed(ONE + TWO)),
    ],
)
def test_all_rows_are_read_however_they_are_written(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert problems(tmp_path / name) == ["1?", "2?"]


def test_all_frames_of_zstd_are_read(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl.zst").write_bytes(compressed(ONE, TWO))
    assert problems(tmp_path / "frames.jsonl.zst") == ["1?", "2?"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *(
            (f"{encoding}.{kind}", text.encode(encoding), "is UTF-16 or UTF-32; save it as UTF-8")
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
            for kind, text in (("jsonl", ONE.decode()), ("csv", "problem\n1?\n"), ("json", "[{}]"))
        ),
        ("cut.jsonl.gz", packed(ONE * 9)[:-9], "can't be unpacked (Compressed file ended"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    said = refusal(lambda: problems(tmp_path / name))
    assert said.startswith(f"data.problems={tmp_path / name}: ")
    assert message in said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"problem": "1?", "answer": 1, "answer": 2}', "names the field 'answer' twice"),
        (b'{"a": [{"b": 1, "b" : 1}]}', "names the field 'b' twice"),
        (b'{"a\\"" :1, "a\\"" :1}', "names the field 'a\"' twice"),
        (b'{"a": "\\ud800"}', "holds half of a character"),
        (b'{"a": {"\\uDFFF": 1}}', "holds half of a character"),
        (b'{"a": "\\ud83d\\ude00", "b": {"a": [[{"a": 1}], {}]}}', None),
        (b'{"a": "\\"b\\": 1, \\"b\\": 2", "b": "\\\\ud800"}', None),
        (b'{"a\\\\":1,"b":":"}', None),
        (b'{"a" : 1, "b"\t: {"a" :2}}', None),
    ],
)
def test_a_field_named_twice_and_half_a_character_are_found(row: bytes, reason: str | None) -> None:
    said = trouble(row, json.loads(row))
    assert said == reason or (reason is not None and said is not None and said.startswith(reason))


def test_such_a_row_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(ONE + b"\n" + b'{"problem": "2?", "problem": "3?"}\n')
    assert refusal(lambda: problems(path)) == "p.jsonl line 3: names the field 'problem' twice"


Files = dict[str, bytes | Path]


def written(directory: Path, files: Files) -> Path:
    for name, content in files.items():
        place = directory / name
        place.parent.mkdir(exist_ok=True)
        if isinstance(content, Path):
            place.symlink_to(content)
        else:
            place.write_bytes(content)
    return directory


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({".a.jsonl": ONE, "._b.jsonl": ONE, "b.jsonl": TWO}, ["2?"]),
        ({"a.jsonl": ONE, "b.JSONL": TWO}, ["1?", "2?"]),
        ({"a.jsonl": b"", "b.jsonl": ONE, "c.jsonl": b"\n", "d.jsonl": TWO}, ["1?", "2?"]),
        ({"a.jsonl": ONE, "b.jsonl.gz": packed(TWO)}, ["1?", "2?"]),
        ({"a.jsonl": ONE, "README.md": b"", "_SUCCESS": b"", "a.jsonl.crc": b""}, ["1?"]),
        ({"below/b.jsonl": TWO, "a.jsonl": Path("below/b.jsonl")}, ["2?"]),
        ({"Train-1.jsonl": ONE, "contest.jsonl": TWO}, ["1?", "2?"]),
    ],
)
def test_a_directory_is_all_of_its_files(tmp_path: Path, files: Files, found: list[str]) -> None:
    assert problems(written(tmp_path, files)) == found


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.jsonl": ONE, "b.jsonl": Path("a.jsonl")}, "a.jsonl and DIR/b.jsonl are the same file"),
        ({"a.jsonl": ONE, "a.jsonl.gz": b""}, "a.jsonl and DIR/a.jsonl.gz are the same file; name"),
        ({"a.jsonl": ONE, "b.jsonl.xz": b""}, "b.jsonl.xz is compressed in a way that is not read"),
        ({"a.jsonl": ONE, "b.jsonl": Path("none")}, "b.jsonl is not a regular file"),
        ({"a.jsonl": ONE, "b.jsonl": Path("b.jsonl")}, "b.jsonl is not a regular file"),
        ({"my_train.jsonl": ONE, "my-test_1.jsonl": TWO}, "holds files of the splits train, test;"),
    ],
)
def test_what_a_directory_holds_twice_or_in_vain_is_refused(
    tmp_path: Path, files: Files, message: str
) -> None:
    place = written(tmp_path, files)
    said = refusal(lambda: problems(place)).replace(str(place), "DIR")
    assert said.startswith((f"data.problems=DIR: {message}", f"data.problems=DIR: DIR/{message}"))


def test_a_file_is_not_read_twice_by_a_list(tmp_path: Path) -> None:
    place = written(tmp_path, {"a.jsonl": ONE, "b.jsonl": TWO})
    for more in ("a.jsonl", "*.jsonl", ".", "../" + place.name + "/a.jsonl"):
        paths = [str(place / "a.jsonl"), f"{place}/{more}"]
        said = refusal(partial(open_rows, "data.expert", paths))
        assert " twice; " in said or "are the same file" in said
    assert len(open_rows("data.expert", [str(place / "a.jsonl"), f"{place}/b*"])) == 2
    assert refusal(lambda: open_rows("data.expert", [])) == "data.expert=[]: names no file"


def said_of(row: Row, call: str = "answered", **columns: str) -> str:
    fields = Fields.of(Listed("p", [row]), Columns(**columns), "{problem}", expert=True)
    calls: dict[str, Callable[[], Any]] = {
        "answered": lambda: fields.answered(row, fields.begins(row)[0]),
        "problem": lambda: fields.problem(row),
    }
    return refusal(calls[call])


def talk(**answer: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1", **answer}]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"reasoning_content": "So."}, "message 2 has its thought in reasoning_content, which is"),
        ({"thinking": "So."}, "message 2 has its thought in thinking, which is not read; put it"),
        (
            {"weight": 0},
            "message 2 has weight 0, and all turns of the assistant are imitated; give",
        ),
        ({"loss": False}, "message 2 has loss False, and all turns of the assistant are imitated"),
        ({"role": "bot"}, "role of message 2 is 'bot', must be one of system, developer, user, as"),
    ],
)
def test_what_a_message_says_beside_its_content_is_not_passed_over(
    said: dict[str, Any], message: str
) -> None:
    assert said_of({"messages": talk(**said)}).startswith(f"field messages: {message}")


def test_what_a_message_says_in_vain_is_no_error() -> None:
    row = {"messages": talk(reasoning_content=None, thinking="", weight=1, loss=True, name="x")}
    row["messages"][0]["weight"] = 0
    fields = Fields(columns=Columns())
    assert fields.answered(row, 1) == ("1", ())


def test_a_content_in_parts_of_text_is_joined_and_other_parts_are_refused() -> None:
    parts = [{"type": "text", "text": "so "}, {"type": "text", "text": "1", "image_url": None}]
    row = {"messages": talk(content=parts)}
    assert Fields(columns=Columns()).answered(row, 1) == ("so 1", ())
    picture = {"type": "image_url", "image_url": {"url": "a.png"}}
    for other, kind in ((picture, "'image_url'"), ("so", "None"), ({"type": "text"}, "'text'")):
        assert said_of({"messages": talk(content=[*parts, other])}).startswith(
            f"field messages: content of message 2 has a part that is no text (type {kind}); chord"
        )
    assert said_of({"messages": talk(content=[])}).endswith(
        "content of message 2 is empty, must be text"
    )


@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        ("p.csv", ";", "must be a comma"),
        ("p.csv", "\t", "must be a comma; a table with tabs must be named .tsv"),
        ("p.tsv", ",", "must be a tab"),
    ],
)
def test_a_table_with_another_separator_is_refused(
    tmp_path: Path, name: str, separator: str, message: str
) -> None:
    lines = (("problem", "answer"), ("1?", "1"))
    (tmp_path / name).write_text("\n".join(separator.join(cells) for cells in lines))
    said = refusal(lambda: problems(tmp_path / name))
    assert said.endswith(
        f"{name} line 1: names one field, {f'problem{separator}answer'!r}; the separator {message}"
    )
    (tmp_path / name).write_text("problem\n1?")
    assert problems(tmp_path / name) == ["1?"]
    (tmp_path / "q.csv").write_text('"a,b"\n1')
    assert open_rows("data.problems", str(tmp_path / "q.csv"))[0] == {"a,b": "1"}


def test_a_row_about_pictures_or_a_response_to_avoid_is_refused() -> None:
    for row in ({"problem": "1?", "answer": "1"}, {"messages": talk()[:1], "answer": "1"}):
        assert said_of({**row, "images": ["a.png"]}, "problem").startswith(
            "field images is not empty; chord trains on turns of text alone"
        )
        Fields().problem({**row, "images": []})
    avoided = {"prompt": "1?", "completion": "2", "label": False}
    assert said_of(avoided).startswith("field label is false: the completion is one to avoid")
    fields = Fields.of(Listed("p", [avoided]), Columns(), "{problem}", expert=True)
    assert fields.answered({**avoided, "label": True}, 0) == ("2", ())


def test_a_system_turn_that_is_no_text_or_is_there_twice_is_refused() -> None:
    told = {"role": "system", "content": "Add."}
    row: Row = {"conversations": talk(), "system": ["Add."], "answer": "1"}
    assert said_of(row, "problem") == "field system is a list, must be text"
    row = {"conversations": [told, *talk()], "system": "Subtract.", "answer": "1"}
    assert said_of(row, "problem") == "fields conversations and system differ in the system's turn"
    for same in ("Add.", "", " ", None):
        fields = Fields.of(Listed("p", [row]), Columns(), "{problem}")
        problem = fields.problem({**row, "system": same})
        assert [turn.role for turn in problem.turns] == ["system", "user"]


def test_an_instruction_beside_a_question_is_not_the_problem() -> None:
    row = {"instruction": "Answer.", "question": "1?", "answer": "1"}
    assert recognised(Columns(), [row], expert=False).columns.problem == "question"
    alpaca = {"instruction": "Add 1 to 1.", "output": "2", "question": "no"}
    assert recognised(Columns(), [alpaca], expert=True).columns.problem == "instruction"
    bare = {"instruction": "Add 1 to 1.", "answer": "2"}
    assert recognised(Columns(), [bare], expert=False).columns.problem == "instruction"


def test_a_box_that_the_first_solution_lacks_leaves_the_answer_open() -> None:
    row = {"messages": talk(), "solution": "1"}
    fields = Fields.of(Listed("p", [row]), Columns(), "{problem}")
    assert fields.problem({**row, "solution": "2"}).answer == "2"
    said = refusal(lambda: fields.problem({**row, "solution": r"So \boxed{2}."}))
    assert said.startswith(
        r"field solution has a \boxed{...}, and that of the first row has none, "
    )
    named = Fields.of(Listed("p", [row]), Columns(answer="solution"), "{problem}")
    assert named.problem({**row, "solution": r"\boxed{2}"}).answer == r"\boxed{2}"


def test_a_column_of_parquet_named_twice_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `parquet`")
    table = pyarrow.table([["1?"], ["1"], ["2"]], names=["problem", "answer", "answer"])
    parquet.write_table(table, tmp_path / "p.parquet")
    said = refusal(lambda: problems(tmp_path / "p.parquet"))
    assert said.endswith("p.parquet: names the field 'answer' twice")


def test_a_line_of_csv_beyond_the_limit_is_not_cut_into_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chord.data.lines.LINE", 20)
    (tmp_path / "p.csv").write_text("problem\n" + "1" * 30 + "\n")
    said = refusal(lambda: problems(tmp_path / "p.csv"))
    assert "p.csv line 2: can't be read as CSV (a line is longer than" in said
