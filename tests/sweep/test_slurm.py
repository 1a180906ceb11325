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
from sweeps import contents, small

pytestmark = pytest.mark.slow
SETTINGS = ["trainer.checkpoint_every=10000", "evaluation.every=0"]
TWO = ["steps=800", "seed=0,1"]
# Longer than the time that SLURM grants a job which has to make room.
LONG = ["steps=4000", "seed=0"]


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


def start_both(models: Path, where: Path, *settings: str) -> subprocess.Popen[str]:
    """Take a sweep here, in `whole`, and start the same on SLURM, in `cut`."""
    whole = start(models, where, "whole", *settings)
    whole.communicate(timeout=500)
    assert whole.returncode == 0
    return start(models, where, "cut", "hydra/launcher=submitit_slurm", *settings)


def goes_on(job: str, run: Path) -> bool:
    """Let a requeued job start at once, where SLURM would wait two minutes."""
    return bool(
        slurm("scontrol", "update", f"jobid={job}", "starttime=now")
        or "PENDING" in slurm("scontrol", "show", "job", job)
        or status(run) == "finished"
    )


def test_jobs_that_are_signalled_or_requeued_end_as_if_they_never_were(
    small_models: Path, tmp_path: Path
) -> None:
    cut = start_both(small_models, tmp_path, *TWO)
    jobs = [tmp_path / "cut" / str(number) for number in range(2)]
    # As SLURM does it before a time limit, and when an administrator takes a job back.
    for number, words in enumerate((["scancel", "--signal=USR2"], ["scontrol", "requeue"])):
        wait_for("the job runs", 240, lambda job=jobs[number]: rows(job) >= 3)
        first = slurm("squeue", "-h", "-n", "train", "-o", "%F").split()[-1]
        slurm(*words, f"{first}_{number}")
    wait_for("the first has stopped", 60, lambda: status(jobs[0]) == "interrupted")
    stopped = rows(jobs[0])
    assert stopped < 800, "too late: nothing was interrupted"
    assert (jobs[0] / "checkpoints" / "last.ckpt").exists()
    for number in range(2):
        job, run = f"{first}_{number}", jobs[number]
        wait_for("a requeued job waits", 90, lambda job=job, run=run: goes_on(job, run))
    out, err = cut.communicate(timeout=400)
    assert cut.returncode == 0, err
    for number, job in enumerate(jobs):
        assert "Restarts=1 " in slurm("scontrol", "show", "job", f"{first}_{number}")
        assert contents(job) == contents(tmp_path / "whole" / str(number))
    assert out.count("finished") >= 2


def test_a_job_that_makes_room_for_an_urgent_one_ends_as_if_it_never_had(
    small_models: Path, tmp_path: Path
) -> None:
    cut = start_both(small_models, tmp_path, *LONG)
    run = tmp_path / "cut" / "0"
    wait_for("the job runs", 240, lambda: rows(run) >= 3)
    # Alone, it is no array.
    job = slurm("squeue", "-h", "-n", "train", "-o", "%i").split()[-1]
    slurm("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    wait_for("it was put back", 90, lambda: "Restarts=1 " in slurm("scontrol", "show", "job", job))
    # It had a signal ten seconds before, and wrote a checkpoint then.
    assert (run / "checkpoints" / "last.ckpt").exists()
    assert rows(run) < 4000, "too late: nothing was interrupted"
    wait_for("it goes on", 120, lambda: goes_on(job, run))
    _, err = cut.communicate(timeout=400)
    assert cut.returncode == 0, err
    assert contents(run) == contents(tmp_path / "whole" / "0")


def status(run: Path) -> str:
    file = run / "status.json"
    return str(json.loads(file.read_text())["status"]) if file.exists() else ""
