"""Jobs on a real SLURM, of one node: `.ci/slurm` starts one. Signalled, requeued, and exact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweeps import small
from test_sweep import contents

pytestmark = pytest.mark.slow
SETTINGS = ["steps=800", "trainer.checkpoint_every=1000", "evaluation.every=0", "seed=0,1"]


def slurm(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.fixture(autouse=True)
def cluster() -> None:
    if not all(map(shutil.which, ("sbatch", "srun", "scontrol"))):
        pytest.skip("SLURM is not installed; .ci/slurm installs and starts one")
    if not slurm("sinfo", "--noheader", "--partition=main,urgent"):
        pytest.skip("SLURM does not run here; .ci/slurm starts it")


def wait_for(what: str, seconds: float, done: object) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def rows(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def start(models: Path, where: Path, sweep: str, *more: str) -> subprocess.Popen[str]:
    words = [*small(models), *SETTINGS, f"hydra.sweep.dir={sweep}", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "chord.train", "-m", *words],
        cwd=where,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_that_are_signalled_or_pre_empted_end_as_if_they_never_were(
    small_models: Path, tmp_path: Path
) -> None:
    whole = start(small_models, tmp_path, "whole")
    whole.communicate(timeout=500)
    assert whole.returncode == 0
    cut = start(small_models, tmp_path, "cut", "hydra/launcher=submitit_slurm")
    jobs = [tmp_path / "cut" / str(number) for number in range(2)]
    # As SLURM does it before a time limit, and to make room for another job.
    for number, words in enumerate((["scancel", "--signal=USR2"], ["scontrol", "requeue"])):
        wait_for("the job runs", 240, lambda job=jobs[number]: rows(job) >= 3)
        first = slurm("squeue", "-h", "-n", "train", "-o", "%F").split()[-1]
        slurm(*words, f"{first}_{number}")
    wait_for("the first has stopped", 60, lambda: status(jobs[0]) == "interrupted")
    stopped = rows(jobs[0])
    assert stopped < 800, "too late: nothing was interrupted"
    assert (jobs[0] / "checkpoints" / "last.ckpt").exists()
    # SLURM would wait two minutes.
    for number in range(2):
        wait_for(
            "a requeued job waits",
            90,
            lambda number=number: (
                slurm("scontrol", "update", f"jobid={first}_{number}", "starttime=now")
                or "PENDING" in slurm("scontrol", "show", "job", f"{first}_{number}")
                or status(jobs[number]) == "finished"
            ),
        )
    out, err = cut.communicate(timeout=400)
    assert cut.returncode == 0, err
    for number, job in enumerate(jobs):
        assert "Restarts=1 " in slurm("scontrol", "show", "job", f"{first}_{number}")
        assert contents(job) == contents(tmp_path / "whole" / str(number))
    assert out.count("finished") >= 2


def status(run: Path) -> str:
    file = run / "status.json"
    return str(json.loads(file.read_text())["status"]) if file.exists() else ""
