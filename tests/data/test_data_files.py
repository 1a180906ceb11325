"""Rows of files: each kind reads the same, and what can't be read is named."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from functools import partial
from pathlib import Path

import orjson
import pyarrow
import pytest
from pyarrow import parquet
from texts import corpus, refusal, sums, write

from chord.data.files import open_rows
from chord.data.jsonl import FilesConfig
from chord.io.extras import install
from chord.run.identity.contents import content_of

ROWS = sums(25)


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    lines = write(tmp_path / "p.jsonl", ROWS).read_bytes()
    (tmp_path / "p.json").write_bytes(orjson.dumps(ROWS))
    (tmp_path / "q.json").write_text("\ufeff" + json.dumps(ROWS, indent=2), encoding="utf-8")
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(lines[:500]) + gzip.compress(lines[500:]))
    (tmp_path / "p.json.gz").write_bytes(gzip.compress(orjson.dumps(ROWS)))
    with pyarrow.CompressedOutputStream(str(tmp_path / "p.jsonl.zst"), "zstd") as file:
        file.write(lines)
    # Seven groups, more than are kept.
    table = pyarrow.Table.from_pylist(ROWS)
    parquet.write_table(table, tmp_path / "p.parquet", row_group_size=4)
    for path in sorted(tmp_path.iterdir()):
        rows = open_rows("data.problems", str(path))
        assert list(rows) == ROWS, path.name
        assert [rows[index] for index in reversed(range(25))] == ROWS[::-1], path.name
        assert rows.where(0).startswith(path.name)


def test_tables_of_text_give_the_same_rows(tmp_path: Path) -> None:
    rows = [
        {"problem": 'say "2, 3"', "answer": "6"},
        {"problem": "two\nlines\n", "answer": None},
        {"problem": "é\tü", "answer": "1"},
    ]
    for name, delimiter in (("p.csv", ","), ("p.tsv", "\t"), ("p.csv.gz", ",")):
        opener = gzip.open if name.endswith(".gz") else open
        with opener(tmp_path / name, "wt", newline="", encoding="utf-8-sig") as file:
            table = csv.DictWriter(file, ["problem", "answer"], delimiter=delimiter)
            table.writeheader()
            file.write("\r\n")
            table.writerows(rows)
        found = open_rows("data.problems", str(tmp_path / name))
        assert list(found) == [found[n] for n in range(3)] == rows
        assert found.where(2) == f"{name} line 7"


def test_an_array_is_read_across_the_pieces_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"a": 'x"[{\\', "b": {"c": ["]}", n]}} for n in range(50)]
    text = json.dumps(rows, indent=1)
    (tmp_path / "p.json").write_text(text)
    for size in (1, 7, 64):
        monkeypatch.setattr("chord.data.lines._CHUNK", size)
        found = open_rows("data.problems", str(tmp_path / "p.json"))
        assert list(found) == rows
        begins = text.splitlines()
        line = [n for n, each in enumerate(begins, start=1) if each == " {"][30]
        assert found.where(30) == f"p.json line {line}"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["data", "rows", "examples", "instances"])
def test_one_object_is_read_with_its_list_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, indent: int | None
) -> None:
    about = {"version": 1.5, "about": {"}": ['"]']}, "none": None}
    path = tmp_path / "p.json"
    path.write_text("\ufeff" + json.dumps({**about, name: ROWS, "end": [1]}, indent=indent))
    for size in (7, 64, 1 << 20):
        monkeypatch.setattr("chord.data.lines._CHUNK", size)
        assert list(open_rows("data.problems", str(path))) == ROWS
    data = corpus(path)
    assert f"p.json: rows read from its list {name}" in data.report()
    assert data.sources()[0].startswith(f"p.json: {len(ROWS)} rows in its list {name}; problem=")
    assert open_rows("data.problems", str(path)).where(1) == (
        "p.json line 1, row 2" if indent is None else "p.json line 15"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{\n"train": [{"a": 1}],\n"test": []}',
            "p.json is one JSON object, and none of its fields is a list of rows named data, rows, "
            "examples, instances; it has: train, test",
        ),
        ('{\n"data": {"a": []}}', "it has: data"),
        ("{\n}", "it has: none"),
        ('{"data": []}', "holds no rows"),
        ('{"data": [{}],\n"rows": [{}]}', "p.json line 2: has rows in data and in rows; leave one"),
        ('{"data": [{},\n1]}', "p.json line 2: must be an object with named fields"),
        ('{"data": [{}],\n"a"}', "p.json line 2: is not valid JSON (no colon)"),
        ('{"data": [{}],\n"a": }', "p.json line 2: is not valid JSON (no value)"),
        ('{"data": [{}],\n"a": 1', "p.json line 2: is not valid JSON (the object has no end)"),
        ('{"data": [{}]}\n{"data": [{}]}', "p.json line 1: field problem or messages is missing"),
        # What goes on behind its line is no object of its own: the line is broken.
        ('{"problem": "1",\n{"problem": "2"}', "p.json line 1: is not valid JSON (unexpected end"),
    ],
)
def test_one_object_without_rows_is_refused_by_its_names(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    assert message in refusal(lambda: corpus(path))


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"part-{number}.jsonl", ROWS[number * 8 : number * 8 + 8])
    (tmp_path / "README.md").write_text("about")
    paths = [str(tmp_path / f"part-{number}.jsonl") for number in range(3)]
    for path, name in (
        (str(tmp_path), tmp_path.name),
        (f"{tmp_path}/part-*.jsonl", "part-*.jsonl"),
        (paths, "part-0.jsonl and 2 more"),
    ):
        rows = open_rows("data.problems", path)
        assert list(rows) == [rows[n] for n in range(24)] == ROWS[:24]
        assert rows.name == name
        assert rows.where(9) == "part-1.jsonl line 2"


def test_shards_in_several_directories_are_told_apart(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"v{number}").mkdir()
        write(tmp_path / f"v{number}" / "p.jsonl", ROWS[:3])
    assert open_rows("data.problems", f"{tmp_path}/v*/p.jsonl").where(4) == "v1/p.jsonl line 2"


def test_the_splits_of_a_directory_are_not_mixed(tmp_path: Path) -> None:
    for name, size in (("train-00000-of-00002", 8), ("train-00001-of-00002", 5), ("test", 3)):
        write(tmp_path / f"{name}.jsonl", ROWS[:size])
    assert len(open_rows("data.problems", f"{tmp_path}:train")) == 13
    assert len(open_rows("data.problems", f"{tmp_path}:test")) == 3
    for path, reason in (
        (
            f"{tmp_path}",
            f"holds files of the splits train, test; name one of them, as in {tmp_path}:",
        ),
        (f"{tmp_path}:dev", "has no files of a split dev; it has train, test"),
        (f"{tmp_path}/x*.jsonl", "no file is named so"),
    ):
        said = refusal(partial(open_rows, "data.problems", path))
        assert said.startswith(f"data.problems={path}: {reason}")
    write(tmp_path / "train.json", ROWS[:2])
    assert "holds .json and .jsonl files; name those that are meant, as in" in refusal(
        partial(open_rows, "data.problems", f"{tmp_path}:train")
    )


def test_a_list_of_files_is_checked_and_its_files_are_known(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{n}.jsonl", ROWS[n * 9 : n * 9 + 9])) for n in range(2)]
    config = FilesConfig(problems=paths, expert=paths[0])
    assert config.files() == {
        "data.problems.0": paths[0],
        "data.problems.1": paths[1],
        "data.expert": paths[0],
    }
    for value in ([], [""], [["a"]], {"a": "b"}, True):
        said = refusal(partial(FilesConfig, problems=value))
        assert said == f"data.problems={value}: must be a file, or a list of files"


def test_the_content_of_a_pattern_and_a_directory_is_that_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS[:9])
    write(tmp_path / "b.jsonl", ROWS[9:])
    found = [content_of(path) for path in (str(tmp_path), f"{tmp_path}/*.jsonl")]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0]["sha256"] == found[1]["sha256"]
    write(tmp_path / "b.jsonl", ROWS[8:])
    after = content_of(str(tmp_path))
    assert after is not None
    assert after["sha256"] != found[0]["sha256"]


def test_lines_may_be_blank_or_end_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n   \n{"a": 2}')
    rows = open_rows("data.problems", str(path))
    assert list(rows) == [rows[0], rows[1]] == [{"a": 1}, {"a": 2}]
    assert rows.where(1) == "p.jsonl line 4"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.jsonl", "", "data.problems={path}: holds no rows"),
        ("p.jsonl", "\n\n", "data.problems={path}: holds no rows"),
        ("p.txt", "a", "data.problems={path}: must end in .jsonl, .ndjson, .json, .csv, .tsv, .pa"),
        ("p.csv", "a,b", "data.problems={path}: holds no rows"),
        (
            "p.csv",
            "problem,problem\n",
            "data.problems={path}: p.csv line 1: names the field 'problem'",
        ),
        (
            "p.csv",
            'problem,answer\n"1\n2",3\n4',
            "p.csv line 4: has 1 values, and the first row na",
        ),
        (
            "p.csv",
            'problem,answer\n1,"2\n',
            "data.problems={path}: p.csv line 2: can't be read as C",
        ),
        (
            "p.csv",
            "problem,answer\n1,\n",
            "p.csv line 2: field answer is null, must be text or a nu",
        ),
        ("p.jsonl.gz", "a", "data.problems={path}: can't be unpacked (Not a gzipped file"),
        ("p.jsonl.zst", "a", "data.problems={path}: can't be unpacked ("),
        ("p.parquet", "a", "data.problems={path}: is no Parquet file that can be read"),
        ("p.jsonl", '{"problem": "1"}\n{"problem', "p.jsonl line 2: is not valid JSON (unexp"),
        (
            "p.jsonl",
            '{"problem": "1", "answer": 1}\n\n{"pro',
            "p.jsonl line 3: is not valid JSON (unexpected end of data)",
        ),
        ("p.jsonl", "1", "p.jsonl line 1: must be an object with named fields"),
        (
            "p.json",
            ' [{"problem": "1"}]',
            "p.json line 1: field answer is missing; there are: prob",
        ),
        ("p.json", "[]", "data.problems={path}: holds no rows"),
        (
            "p.json",
            "\n[\n  {\n",
            "data.problems={path}: p.json line 3: is not valid JSON (the arra",
        ),
        (
            "p.json",
            "[\n{}\n{}]",
            "data.problems={path}: p.json line 3: is not valid JSON (no comma)",
        ),
        (
            "p.json",
            "[{}] 1",
            "data.problems={path}: p.json line 1: is not valid JSON (something fol",
        ),
        ("p.json", '[{"a": 1},\n{"a": }]', "p.json line 1: field problem or messages is missing"),
        ("p.json", '[{"problem": "1", "answer": 1},\n{"a": }]', "p.json line 2: is not valid JSON"),
        (
            "p.json",
            "[\n1]",
            "data.problems={path}: p.json line 2: must be an object with named fie",
        ),
        ("p.json", "{\n", "p.json line 1: is not valid JSON (unexpected end of data); each line"),
        ("p.jsonl", '{"problem": "1", "answer": 1}\n[1]', "p.jsonl line 2: must be an object with"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    said = refusal(lambda: corpus(path))
    assert said.startswith(message.format(path=path))
    assert "\n" not in said


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no.jsonl", "no such file"),
        (
            tmp_path,
            "a directory without files that end in .jsonl, .ndjson, .json, .csv, .tsv, .parquet",
        ),
        ("hub://gsm8k", "must be hub://OWNER/NAME, then /CONFIGURATION and :SPLIT if needed"),
    ):
        said = refusal(partial(open_rows, "data.expert", str(path)))
        assert said == f"data.expert={path}: {reason}"


class Split(list):  # type: ignore[type-arg]
    """As much of the datasets library's splits as is read."""


class Datasets:
    @staticmethod
    def load_from_disk(path: str) -> dict[str, Split]:
        return {"train": Split(ROWS), "test": Split(ROWS[:3])}

    @staticmethod
    def load_dataset(name: str, configuration: str | None, *, split: str) -> Split:
        if configuration != "main":
            raise RuntimeError("choose a configuration\nmore")
        return Split(ROWS[: {"train": 25, "test": 3}[split]])


def test_data_sets_of_the_library_are_read_by_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    (tmp_path / "dataset_dict.json").write_text("{}")
    for path, size in (
        (str(tmp_path), 25),
        (f"{tmp_path}:test", 3),
        ("hub://openai/gsm8k/main", 25),
        ("hub://openai/gsm8k/main:test", 3),
    ):
        assert list(open_rows("data.problems", path)) == ROWS[:size]
    for path, reason in (
        (f"{tmp_path}:dev", "has no split dev; it has train, test"),
        ("hub://openai/gsm8k", "can't be loaded (choose a configuration)"),
    ):
        said = refusal(partial(open_rows, "data.problems", path))
        assert said == f"data.problems={path}: {reason}"


def test_what_the_library_itself_has_saved_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=whole, test=whole.select(range(3))).save_to_disk(tmp_path / "two")
    for place, size in (("one", 25), ("two", 25), ("two:test", 3)):
        assert list(open_rows("data.problems", f"{tmp_path}/{place}")) == ROWS[:size]


@pytest.mark.parametrize(
    ("module", "path", "extra"),
    [("datasets", "hub://a/b", "datasets"), ("pyarrow", "p.parquet", "parquet")],
)
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, path: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "p.parquet", [])
    said = refusal(lambda: open_rows("data.problems", path))
    assert said == (
        f"data.problems={path}: needs {'the datasets library' if module == 'datasets' else module}"
        f"; {install(extra)}"
    )
