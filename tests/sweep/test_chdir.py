"""With hydra.job.chdir=true a run works in its own directory, and finds what was typed as ever."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import compose_config
from sweeps import Command, command

from chord.chat import main as chat
from chord.config.parse import parse
from chord.config.root import EvaluateConfig
from chord.doctor.directory import directory
from chord.doctor.finding import WRONG
from chord.evaluate import evaluate_run
from chord.export import export_run

__all__ = ["command"]

CHDIR = "hydra.job.chdir=true"
WORDS = [
    *("model.path=mine.safetensors", "reward=function", "reward.function=of_chdir:score"),
    *("trainer.keep.every=1", CHDIR),
]


@pytest.fixture
def started(command: Command, small_models: Path) -> Command:
    """With a model, a reward function and a finished run in the directory of the command."""
    shutil.copy(small_models / "base.safetensors", command.where / "mine.safetensors")
    source = "def score(prompt, response, answer):\n    return float(len(response) % 2)\n"
    (command.where / "of_chdir.py").write_text(source)
    assert command(*WORDS, "hydra.run.dir=r") == 0, command.err
    return command


def test_files_of_a_run_are_found_from_where_it_was_started(
    started: Command, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    home, run = started.where, started.where / "r"
    facts = json.loads((run / "run.json").read_text())
    assert facts["started_in"] == str(home)
    assert facts["contents"]["reward.function"]["path"] == str(home / "of_chdir.py")
    assert facts["config"]["model"]["path"] == "mine.safetensors"
    # It goes on from elsewhere, and other commands find it there too.
    started.where = tmp_path_factory.mktemp("elsewhere")
    there = os.path.relpath(run, started.where)
    assert started(f"resume={there}", "steps=3", CHDIR, own=False) == 0, started.err
    started.monkeypatch.chdir(started.where)
    few = ("evaluation.test_problems=2", "evaluation.test_retained=2", "evaluation.pairs=2")
    config = parse(compose_config(*few, name="evaluate"), EvaluateConfig)
    assert evaluate_run(Path(there), config)
    export_run(Path(there), Path("export"))
    started.monkeypatch.setattr("sys.stdin", io.StringIO("1+1=\n"))
    chat([there])
    assert "warning: " not in capsys.readouterr().err
    assert not [each for each in directory(Path(there)) if each.mark == WRONG]


@pytest.mark.slow
def test_runs_that_are_named_are_found_too(started: Command) -> None:
    assert started("fork=r", "checkpoint=1", CHDIR, "hydra.run.dir=f", own=False) == 0, started.err
    assert started(*WORDS[1:], "model.path=null", "dry_run=true") == 0, started.err
    words = ["-m", "model.run=r,f", "hydra.sweep.dir=s", CHDIR]
    started.small = [word for word in started.small if not word.startswith("model.path=")]
    assert started(*words) == 0, started.out
    assert [started.status(f"s/{job}")["status"] for job in (0, 1)] == ["finished"] * 2
    # A job that is done is not done again.
    rows = (started.where / "s" / "0" / "metrics.jsonl").stat().st_mtime_ns
    assert started("resume_sweep=s", *words[:2], CHDIR) == 0, started.out
    assert (started.where / "s" / "0" / "metrics.jsonl").stat().st_mtime_ns == rows
