"""A W&B that is really run in a process of its own, killed, resumed and uploaded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb_stub

ROOT = Path(__file__).parents[2]
WANDB = Path(sys.executable).parent / "wandb"
# A run of 12 steps with an evaluation before every fourth; argv: run directory, first step (its
# checkpoint), step before which it ends early, and how: by SIGKILL or by an exception.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from chord.run.recorder import Recorder
from chord.tracking import WandbTracking, open_tracker
run_dir, first, ends = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
recorder = Recorder(run_dir)
recorder.truncate(first)
tracker = open_tracker(WandbTracking(), run_dir, config={"schedule": {"name": "linear"}},
                       run_name="a run", run_id="abcd1234", resume_rows=recorder.history())
exit_code = 1
try:
    for step in range(first, 12):
        if step == ends and sys.argv[4] == "exception":
            raise SystemExit(1)
        if step == ends:
            time.sleep(1.5)  # three of the log's flush intervals
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 4 == 0:
            row = {"split": "val", "model": "trained", "val/target_accuracy": step / 16}
            recorder.evaluation(step, row)
            tracker.evaluation(step, row)
        metrics, timings = {"alpha": 1 - step / 16, "loss/sft": 0.25}, {"seconds/step": 0.5}
        recorder.train(step, metrics, timings)
        tracker.log(step, {**metrics, **timings})
    tracker.evaluation(12, {"split": "test", "model": "trained", "test/target_accuracy": 0.75})
    exit_code = 0
finally:
    tracker.finish(exit_code)
print(*tracker.messages(), sep="\\n")
"""
IMPATIENT = ("recorder = ", "import chord.tracking.wandb as w\nw.INIT_SECONDS = 3\nrecorder = ", 1)
STEPS = [
    {"alpha": 1 - step / 16, "loss/sft": 0.25, "seconds/step": 0.5}
    | ({"val/target_accuracy": step / 16} if step % 4 == 0 else {})
    for step in range(12)
]


def start(
    run_dir: Path,
    *,
    first: int = 0,
    ends: int = -1,
    by: str = "SIGKILL",
    url: str = "",
    script: str = SCRIPT,
) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own; with `url`, logged in there."""
    account = {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": url} if url else {}
    run_dir.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", script, str(run_dir), str(first), str(ends), by],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **account},
        capture_output=True,
        text=True,
        timeout=300,
    )


def inspect(file: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(WANDB), "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def logged(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """History items without W&B's own columns, having checked their steps."""
    assert [item["_step"] for item in items] == list(range(len(items)))
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_and_resumed_offline_run_is_one_complete_record(
    tmp_path: Path, no_account: Path
) -> None:
    run_dir = tmp_path / "run"
    assert start(run_dir, ends=9).returncode == -9
    (piece,) = (run_dir / "wandb").glob("offline-run-*")
    before = [r["history"]["item"] for r in inspect(piece / "run-abcd1234.wandb") if "history" in r]
    # W&B holds a step back until it knows that nothing is added to it.
    assert logged(before) == STEPS[:8]

    done = start(run_dir, first=6)
    assert (done.returncode, done.stderr) == (0, "")
    (piece,) = (run_dir / "wandb").glob("offline-run-*")
    records = inspect(piece / "run-abcd1234.wandb")
    assert logged([r["history"]["item"] for r in records if "history" in r]) == STEPS
    # Beside it stands the run time, where that is a second or more.
    assert records[-1]["exit"]["exit_code"] == 0
    summary = [r["summary"]["update"] for r in records if "summary" in r]
    assert any(update.get("test/target_accuracy") == 0.75 for update in summary)

    # The printed command uploads it.
    upload = done.stdout.splitlines()[-1].split(": ", 1)[1].split()
    with wandb_stub.running() as server:
        environment = {**os.environ, "WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": server.url}
        subprocess.run(upload, cwd=ROOT, env=environment, check=True, timeout=300)
        assert logged(server.history()) == STEPS
        assert server.exit_code == 0


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_and_resumed_online_run_sends_every_row_once(
    tmp_path: Path, no_account: Path
) -> None:
    run_dir = tmp_path / "run"
    with wandb_stub.running() as server:
        assert start(run_dir, ends=5, url=server.url).returncode == -9
        failed = start(run_dir, first=3, ends=9, by="exception", url=server.url)
        assert (failed.returncode, server.exit_code) == (1, 1)
        assert logged(server.history()) == STEPS[:9]
        done = start(run_dir, first=6, url=server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert logged(server.history()) == STEPS
        assert server.resent == 0
        assert server.exit_code == 0
        assert done.stdout.startswith(f"W&B: {server.url}/someone/chord/runs/abcd1234\n")
    key = b"k" * 40
    assert not any(key in file.read_bytes() for file in run_dir.rglob("*") if file.is_file())
    assert not (no_account / "netrc").exists()


@pytest.mark.slow
def test_a_server_that_never_answers_leaves_an_offline_run(
    tmp_path: Path, no_account: Path
) -> None:
    run_dir = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        # 3 s, not 15, for W&B to open the run.
        done = start(run_dir, url=url, script=SCRIPT.replace(*IMPATIENT))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("W&B: offline (")
    (piece,) = (run_dir / "wandb").glob("*run-*-abcd1234")
    records = inspect(piece / "run-abcd1234.wandb")
    assert logged([r["history"]["item"] for r in records if "history" in r]) == STEPS
