"""The command itself, killed with SIGKILL at arbitrary moments and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SIGNAL, SMALL
from safetensors.torch import load_file

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# More steps than a kill can outrun, small ones.
OVERRIDES = [
    *(setting for setting in SMALL if not setting.startswith(("steps", "trainer.checkpoint"))),
    "steps=60",
    "trainer.checkpoint_every=7",
    "schedule=chord_mu",
    SIGNAL,
]


def command(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "chord.train", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_after(process: subprocess.Popen[bytes], path: Path, rows: int) -> None:
    """SIGKILL once the run has written that many rows."""
    deadline = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_run_killed_twice_ends_as_if_it_never_was(small_models: Path, tmp_path: Path) -> None:
    models = [
        f"model.path={small_models}/base.safetensors",
        f"teacher.path={small_models}/teacher.safetensors",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert command(*OVERRIDES, *models, f"hydra.run.dir={whole}").wait() == 0
    first = command(*OVERRIDES, *models, f"hydra.run.dir={cut}")
    kill_after(first, cut / "metrics.jsonl", 3)
    second = command(f"resume={cut}")
    kill_after(second, cut / "metrics.jsonl", 19)
    assert command(f"resume={cut}").wait() == 0
    for name in ("metrics.jsonl", "evaluations.jsonl", "completions.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    mine, theirs = load_file(cut / "model.safetensors"), load_file(whole / "model.safetensors")
    assert mine.keys() == theirs.keys()
    assert all(mine[name].equal(theirs[name]) for name in mine)
