"""The command from directories to what is printed and written, and its errors in one line."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from compare_runs import evaluation, make_run, metrics, write_lines, write_run, write_sweep

from chord.compare.command import main
from chord.compare.grouping import compare
from chord.compare.tables import guarded, write_tables

SCORES = {"linear": [0.2, 0.3, 0.4], "cosine": [0.31, 0.4, 0.49]}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    # However long the path is, the lines with it are as long as those with another one.
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(Path("a_sweep"), SCORES)
    failed = {"status": "failed", "error": "loss is not finite"}
    write_run(sweep / "6", seed=3, taken=2, status=failed, choices={"schedule": "cosine"})
    main([str(sweep)])
    out = capsys.readouterr().out
    # .31, .4, .49: mean .4, s = .09, 4.302653 · .09 / √3 = .2236.
    assert "40.0 ± 22.4" in out
    # Differences .11, .10, .09: mean .1, s = .01, half .0248; t = .1 / (.01 / √3) = 10 √3, so
    # p = 1 - √(300 / 302) = .0033, and Holm's is the same: one comparison.
    assert "+10.0 ± 2.5" in out
    assert "p=.003" in out
    assert "failed after 2 of 4 steps: loss is not finite" in out
    assert max(len(line) for line in out.splitlines()) <= 100
    runs = rows(sweep / "comparison" / "runs.csv")
    assert len(runs) == 7
    assert [row["status"] for row in runs][-1] == "failed"
    assert runs[3]["group"] == "schedule=cosine"
    assert float(runs[3]["test/target_accuracy"]) == 0.31
    groups = rows(sweep / "comparison" / "groups.csv")
    cosine = next(r for r in groups if r["group"] == "schedule=cosine")
    assert (cosine["metric"], cosine["seeds"], cosine["pairs"]) == (
        "test/target_accuracy",
        "3",
        "3",
    )
    assert float(cosine["difference"]) == pytest.approx(0.1)
    assert rows(sweep / "comparison" / "left_out.csv")[0]["reason"].startswith("failed")
    page = (sweep / "comparison" / "comparison.html").read_text()
    assert "schedule=cosine" in page
    for name in ("comparison.html", "curves.png", "scatter.png", "runs.csv"):
        assert f"comparison/{name}" in out


def test_files_go_where_they_are_wanted(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", SCORES)
    there = str(tmp_path / "there")
    main([str(sweep), "--out", there, "--metric", "test/retained/min", "--no-page"])
    assert not (tmp_path / "there" / "comparison.html").exists()
    assert {row["metric"] for row in rows(tmp_path / "there" / "groups.csv")} == {
        "test/retained/min"
    }
    assert not (sweep / "comparison").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "empty: contains no run"),
        (["missing"], "missing: is not a directory"),
        ([], "outputs/: no such directory here"),
        (["a_sweep", "--baseline", "schedule=sine"], "--baseline schedule=sine: no such group"),
        (["a_sweep", "--metric", "speed"], "--metric speed: no finished run has it"),
        (
            ["missing", "--out", "file"],
            "--out file: must be a writable directory (a file is in the way)",
        ),
        (["missing", "--out", "file/new"], "--out file/new: must be a writable directory"),
        (
            ["missing", "--out", "/dev/null/new"],
            "--out /dev/null/new: must be a writable directory",
        ),
        (
            ["b_sweep"],
            "b_sweep/comparison (choose another with --out): must be a writable",
        ),
    ],
)
def test_an_error_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    write_sweep(tmp_path / "a_sweep", SCORES)
    (write_sweep(tmp_path / "b_sweep", SCORES) / "comparison").touch()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, error = capsys.readouterr()
    assert (out, stopped.value.code) == ("", 1)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("huge", [9e29, 1e308])
def test_huge_numbers_warn_of_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], huge: float
) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", SCORES)
    for job, factor in ((0, 1), (4, -1)):
        path, value = sweep / str(job), factor * huge
        own = {name: value for name in metrics(0) if "/" in name}
        write_lines(path / "metrics.jsonl", [{**metrics(step), **own} for step in range(4)])
        scores = {name: value for name in evaluation(4, "test", "trained", 0.5) if "/" in name}
        rows = [evaluation(4, split, "trained", 0.5) for split in ("val", "test")]
        write_lines(path / "evaluations.jsonl", [row | scores for row in rows])
        seconds = [{"step": step, "seconds/step": value} for step in range(4)]
        write_lines(path / "timings.jsonl", seconds)
    # A warning is an error here.
    main([str(sweep)])
    assert max(map(len, capsys.readouterr().out.split())) < 200


def test_a_place_that_cannot_be_written_into_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # For root every place can be written into.
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "missing"), "--out", str(tmp_path)])
    reason = "must be a writable directory (no permission to write)"
    assert capsys.readouterr().err == f"error: --out {tmp_path}: {reason}\n"


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@sum",
        "\tx",
        "\rx",
        "\nx",
        " =1+1",
        "\u00a0@x",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
    ],
)
def test_a_text_that_a_spreadsheet_would_compute_is_quoted(cell: str) -> None:
    assert guarded(cell) == "'" + cell
    assert guarded(-0.5) == -0.5
    assert guarded("a=1") == "a=1"
    assert guarded(" a") == " a"


def test_names_with_formulas_are_quoted_in_every_table(tmp_path: Path) -> None:
    runs = [make_run(choices={"experiment": each}, name=each) for each in ("=cmd()", " @x")]
    write_tables(compare(runs), tmp_path)
    assert [row["group"] for row in rows(tmp_path / "runs.csv")] == ["'=cmd()", "' @x"]
    assert [row["name"] for row in rows(tmp_path / "runs.csv")] == ["'=cmd()", "' @x"]
    assert rows(tmp_path / "groups.csv")[0]["varied/experiment"] == "'=cmd()"
    assert float(rows(tmp_path / "runs.csv")[0]["test/target_accuracy"]) == 0.5


def test_parquet_holds_numbers_as_numbers(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow")
    runs = [make_run(seed=seed, settings={"a.b": value}) for seed, value in ((0, None), (1, "x"))]
    write_tables(compare(runs), tmp_path, parquet=True)
    table = parquet.read_table(tmp_path / "runs.parquet").to_pydict()
    assert table["test/target_accuracy"] == [0.5, 0.5]
    assert table["seed"] == [0, 1]
    assert table["setting/a.b"] == [None, "x"]


def test_parquet_without_its_package_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    sweep = write_sweep(tmp_path / "a_sweep", SCORES)
    with pytest.raises(SystemExit):
        main([str(sweep), "--parquet"])
    error = capsys.readouterr().err
    line = "--parquet: needs pyarrow, which is not installed; pip install 'pyarrow>=15'"
    assert error == f"error: {line}\n"
    assert not list((sweep / "comparison").glob("*.csv"))


def test_help_loads_none_of_the_heavy_packages() -> None:
    script = (
        "import sys; from chord.compare.command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'numpy', 'wandb', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.endswith("[]\n")


def test_a_comparison_loads_neither_torch_nor_hydra(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "a_sweep", SCORES)
    script = (
        f"import sys; from chord.compare.command import main; main([{str(sweep)!r}])\n"
        "print(sorted({'torch', 'wandb', 'hydra', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.endswith("[]\n")
