"""The notebook runs as it is committed, and is committed without what a run leaves in it."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from pages import NOTEBOOK, ROOT, hooks

from chord.run.files import FINISHED, METRICS, read_rows


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell shows as text, without colours."""
    outputs = cell.get("outputs", [])
    text = "".join(each.get("text") or each.data.get("text/plain", "") for each in outputs)
    return re.sub(r"\x1b\[[\d;]*m", "", text)


# What the fast tests evaluate and train on less than the notebook does, cell by cell.
FEWER = [
    f"evaluation.{split}_{what}={count}"
    for split in ("val", "test")
    for what, count in (("problems", 4), ("retained", 2))
]
SHORTER = (
    "evaluation.pairs=4",
    "evaluation.max_new_tokens=12",
    "rollout.max_new_tokens=12",
    "data.expert_check=skip",
)
LESS = {
    "base": ('"evaluation.val_problems=100", "evaluation.val_retained=20"', repr(FEWER)[1:-1]),
    "sweep": ("steps=12", " ".join(["steps=3", *SHORTER, *FEWER])),
}


@pytest.mark.parametrize("less", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_notebook_trains_compares_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, less: bool
) -> None:
    # `python` in its cells is this one, and no settings of this machine's user are read.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    work = tmp_path / "work"
    work.mkdir()
    book = nbformat.read(NOTEBOOK, as_version=4)
    for cell in book.cells:
        if less and cell.id in LESS:
            said, instead = LESS[cell.id]
            assert said in cell.source
            cell.source = cell.source.replace(said, instead)
    # A cell that fails raises here.
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(work)}}).execute()

    (sweep,) = work.glob("outputs/*/*_sweep")
    alphas = []
    for run in (sweep / str(job) for job in range(6)):
        assert json.loads((run / "status.json").read_text())["status"] == FINISHED
        rows = read_rows(run / METRICS)
        alphas.append((rows[0]["alpha"], rows[-1]["alpha"]))
    # Two seeds each: imitation alone, RL alone, and CHORD-mu from .9 down to .05.
    assert alphas == [(1, 1)] * 2 + [(0, 0)] * 2 + [(0.9, 0.05)] * 2
    with (sweep / "comparison" / "groups.csv").open() as file:
        groups = {row["group"]: row["seeds"] for row in csv.DictReader(file)}
    assert groups == {"sft": "2", "rl": "2", "chord_mu": "2"}

    shown = {cell.id: printed(cell) for cell in book.cells}
    assert "Warning" not in "".join(shown.values())
    for preset in groups:
        assert re.search(rf"^ ?{preset}( \(baseline\))? +2 .*±", shown["comparison"], re.M)
        assert re.search(rf"^{preset}\n.*=\n    . base +\d+\n    . trained", shown["answers"], re.M)
    assert "model   tiny -> hf" in shown["settings"]
    displayed = [each.get("data", {}) for cell in book.cells for each in cell.get("outputs", [])]
    assert sum("image/png" in data for data in displayed) == 3


def test_the_notebook_is_committed_as_it_was_written() -> None:
    written = NOTEBOOK.read_text()
    book = nbformat.reads(written, as_version=4)
    nbformat.validate(book)
    assert written == nbformat.writes(book) + "\n"
    names = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert book.metadata == {"kernelspec": names, "language_info": {"name": "python"}}
    for cell in book.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert not cell.outputs, f"{cell.id}: clear all outputs"
            assert cell.execution_count is None, f"{cell.id}: clear all outputs"
    assert not re.search(r"(?<![\w.])/(home|root|tmp|Users|mnt|opt|usr)/|\b[A-Z]:\\", written)


def test_the_site_shows_every_cell() -> None:
    page = hooks().on_page_markdown((ROOT / "docs" / "first-study.md").read_text())
    assert hooks().NOTEBOOK not in page
    assert re.findall("^# A first study$", page, re.M) == ["# A first study"]
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert re.sub(r"^(# A first study|%%bash.*)\n", "", cell.source) in page
    assert "\n```bash\npython -m chord.train -m " in page
