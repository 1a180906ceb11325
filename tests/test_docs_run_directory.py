"""What docs/run-directory.md says of a run is true: its files, and the keys of their rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import small_composed
from pages import ROOT, code, documented, matches, table

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.run.directory import RunDirectory
from chord.run.files import FAILED, FINISHED, RUNNING, read_rows
from chord.run.identity.settings import AS_BEFORE, NO_NUMBER, SILENT
from chord.run.training import train


@pytest.fixture(scope="module")
def run_files(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The directories of small runs that between them meet every condition of a key."""
    paths = []
    for name, overrides in {
        "terms": [
            "tracking=csv",
            "objective.kl.coef=0.1",
            "objective.entropy_coef=0.1",
            "objective.dual_clip=3",
            "reward=numeric",
            "rollout=hf",
            "rollout.correction_threshold=0",
        ],
        "plain": ["schedule=linear", "steps=1", "trainer.on_nonfinite=skip"],
        "experts": [
            "gate=all_wrong_buffer",
            "gate.size=1",
            "data.pairing=paired",
            "rollout.expert_in_group=1",
            "rollout.group_size=3",
            "objective.resample=1",
            "reward.format_coef=1",
            "steps=4",
        ],
    }.items():
        composed = small_composed(small_models, *overrides)
        path = tmp_path_factory.mktemp("runs") / name
        train(parse(composed, TrainConfig), RunDirectory(path, composed, name, overrides))
        paths.append(path)
    return paths


@pytest.mark.parametrize("file", ["metrics", "timings", "evaluations", "completions", "samples"])
def test_every_key_of_a_run_is_documented_and_written(run_files: list[Path], file: str) -> None:
    name = f"{file}.jsonl"
    written = {key for path in run_files for row in read_rows(path / name) for key in row}
    keys = documented(name)
    assert not [key for key in written if not any(matches(known, key) for known in keys)]
    assert not [known for known in keys if not any(matches(known, key) for key in written)]


def test_every_key_of_the_status_is_documented_and_written(run_files: list[Path]) -> None:
    keys = {key for path in run_files for key in json.loads((path / "status.json").read_text())}
    assert keys == set(documented("status.json"))
    text = (ROOT / "docs" / "run-directory.md").read_text()
    written = {None: "null", False: "false"}
    at = [f"{name}={written.get(value, value)}" for name, value in AS_BEFORE.items()]
    for name in (*NO_NUMBER, *SILENT, *at, RUNNING, FINISHED, FAILED):
        assert f"`{name}`" in text.split("## status.json")[1].split("## metrics")[0]


def test_every_file_of_a_run_is_documented(run_files: list[Path]) -> None:
    named = [
        name.rstrip("/")
        for row in table("docs/run-directory.md", "| file |")
        for name in code(row[0])
    ]
    for path in run_files:
        for entry in path.rglob("*"):
            if entry.is_file():
                assert str(entry.relative_to(path)) in named
    facts = json.loads((run_files[0] / "run.json").read_text())
    text = (ROOT / "docs" / "run-directory.md").read_text()
    assert not [key for key in facts if f"`{key}`" not in text]
