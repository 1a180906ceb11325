"""Trackers: what they keep, what they say, and a W&B that is really run, killed and resumed."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb_stub

from chord.recorder import Recorder
from chord.tracking import (
    CsvTracking,
    NoTracking,
    Tracker,
    WandbTracking,
    new_run_id,
    open_tracker,
)
from chord.tracking import wandb as tracking_wandb
from chord.tracking.base import command, numbers, shown
from chord.tracking.wandb import WandbTracker

ROOT = Path(__file__).parents[1]
VAL = {"split": "val", "model": "trained", "val/target_accuracy": 0.5}
WANDB = Path(sys.executable).parent / "wandb"

# A run of 12 steps with an evaluation before every fourth; argv: run directory, first step (its
# checkpoint), step before which it ends early, and how: by SIGKILL or by an exception.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from chord.recorder import Recorder
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


def test_the_options_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match=r"tracking\.mode=offlin: must be one of auto, online, of"):
        WandbTracking(mode="offlin")
    with pytest.raises(ValueError, match=r"tracking\.project='': must not be empty"):
        WandbTracking(project="")


def test_only_numbers_are_tracked_and_null_is_nan() -> None:
    kept = numbers({"step": 3, "split": "val", "a": 1, "b": 0.5, "c": None, "d": [1]})
    assert list(kept) == ["a", "b", "c"]
    assert kept["a"] == 1
    assert math.isnan(kept["c"])


def test_test_rows_go_to_the_summary_and_the_base_keeps_its_own_names() -> None:
    class Kept(Tracker):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.final: dict[str, Any] = {}

        def log(self, step: int, row: Any) -> None:
            self.steps.append(step)

        def summary(self, values: Any) -> None:
            self.final |= values

    tracker = Kept()
    tracker.replay(
        [
            {"step": 0, "alpha": 1.0},
            {"step": 1, **VAL},
            {"step": 0, "split": "test", "model": "base", "test/target_accuracy": 0.25},
            {"step": 1, "split": "test", "model": "trained", "test/target_accuracy": 0.5},
        ]
    )
    assert tracker.steps == [0, 1]
    assert tracker.final == {"base/test/target_accuracy": 0.25, "test/target_accuracy": 0.5}


def test_off_writes_nothing_and_says_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(NoTracking(), tmp_path, config={}, run_name="x")
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    assert tracker.messages() == []
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_line_for_each_step_after_every_row(tmp_path: Path) -> None:
    tracker = open_tracker(CsvTracking(), tmp_path, config={}, run_name="x")
    path = tmp_path / "metrics.csv"
    assert path.read_text() == "step\n"
    tracker.evaluation(0, VAL)
    tracker.log(0, {"alpha": 1.0, "loss/sft": 0.25})
    assert path.read_text() == "step,val/target_accuracy,alpha,loss/sft\n0,0.5,1.0,0.25\n"
    tracker.log(1, {"alpha": 0.5, "loss/sft": None})
    tracker.log(2, {"alpha": 0.0, "loss/rl": -0.125})  # a new column, and a skipped branch
    tracker.evaluation(2, VAL)
    assert path.read_text() == (
        "step,val/target_accuracy,alpha,loss/sft,loss/rl\n"
        "0,0.5,1.0,0.25,\n"
        "1,,0.5,nan,\n"
        "2,0.5,0.0,,-0.125\n"
    )
    tracker.summary({"test/target_accuracy": 0.5})
    assert (tmp_path / "summary.csv").read_text() == "key,value\ntest/target_accuracy,0.5\n"


def test_a_resumed_csv_equals_that_of_the_uninterrupted_run(tmp_path: Path) -> None:
    def run(path: Path, first: int, last: int) -> None:
        path.mkdir(exist_ok=True)
        recorder = Recorder(path)
        recorder.truncate(first)
        rows = recorder.history()
        tracker = open_tracker(CsvTracking(), path, config={}, run_name="x", resume_rows=rows)
        for step in range(first, last):
            if step % 3 == 0:
                recorder.evaluation(step, VAL)
                tracker.evaluation(step, VAL)
            row = {"alpha": 1 / (step + 1)} | ({"loss/rl": 0.1} if step > 4 else {})
            recorder.train(step, row)
            tracker.log(step, row)

    run(tmp_path / "whole", 0, 9)
    run(tmp_path / "killed", 0, 7)
    run(tmp_path / "killed", 4, 9)
    whole, resumed = ((tmp_path / name / "metrics.csv") for name in ("whole", "killed"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_run_ids_leave_the_seeded_generators_alone() -> None:
    state = random.getstate()
    first, second = new_run_id(), new_run_id()
    assert first != second
    assert set(first) <= set(string.ascii_lowercase + string.digits)
    assert len(first) == 8
    assert random.getstate() == state


def test_paths_and_programs_are_shown_as_one_would_type_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a run") == "'a run'"
    assert shown(Path("/elsewhere")) == "/elsewhere"
    program = tmp_path / "bin" / "wandb"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("wandb") == "bin/wandb"
    monkeypatch.setenv("PATH", str(program.parent))
    assert command("wandb") == "wandb"


def session(**values: Any) -> SimpleNamespace:
    defaults = {"mode": "online", "base_url": "https://api.wandb.ai", "api_key": None}
    return SimpleNamespace(**{**defaults, "identity_token_file": None, **values})


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which nobody is logged in to W&B; returns its home."""
    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    return home


def test_the_key_is_found_in_settings_and_netrc_for_the_right_host(no_account: Path) -> None:
    assert tracking_wandb._api_key(session()) is None
    assert tracking_wandb._api_key(session(api_key="from settings")) == "from settings"
    (no_account / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert tracking_wandb._api_key(session()) == "secret"
    assert tracking_wandb._api_key(session(base_url="https://api.forge.coreweave.com")) == "secret"
    assert tracking_wandb._api_key(session(base_url="https://wandb.example.org")) is None
    (no_account / "netrc").write_text("not a netrc file")
    assert tracking_wandb._api_key(session()) is None


@pytest.mark.parametrize(
    ("mode", "values", "key", "reason"),
    [
        ("auto", {}, None, "no API key found"),
        ("auto", {"mode": "offline"}, "key", "set by WANDB_MODE or `wandb offline`"),
        ("online", {"mode": "dryrun"}, "key", "set by WANDB_MODE or `wandb offline`"),
        ("offline", {}, "key", "tracking.mode=offline"),
        # Port 9, discard, is closed everywhere.
        ("auto", {"base_url": "http://127.0.0.1:9"}, "key", "no connection to http://127.0.0.1:9"),
    ],
)
def test_each_reason_to_be_offline_is_named(
    mode: str, values: dict[str, str], key: str | None, reason: str, no_account: Path
) -> None:
    found = tracking_wandb._offline_reason(WandbTracking(mode=mode), session(**values), key)
    assert found == reason


def test_a_server_that_takes_connections_is_reachable_also_through_a_proxy(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert tracking_wandb._reachable(url)
        assert tracking_wandb._offline_reason(WandbTracking(), session(base_url=url), "key") == ""
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert tracking_wandb._reachable("https://name.invalid")
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    assert not tracking_wandb._reachable("https://name.invalid")


def test_a_name_server_that_never_answers_costs_no_more_than_the_probe(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        end.wait(10)
        raise OSError

    monkeypatch.setattr(tracking_wandb, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    assert not tracking_wandb._reachable("https://api.wandb.ai")
    assert time.monotonic() - started < 1
    end.set()


def test_only_this_runs_pieces_that_were_not_uploaded_are_removed(tmp_path: Path) -> None:
    for name in ("offline-run-1-abcd", "offline-run-2-abcd", "offline-run-3-other", "run-4-abcd"):
        piece = tmp_path / "wandb" / name
        piece.mkdir(parents=True)
        (piece / f"run-{name.split('-')[-1]}.wandb").touch()
    (tmp_path / "wandb/offline-run-2-abcd/run-abcd.wandb.synced").touch()
    tracking_wandb._remove_pieces(tmp_path, "offline-run-*-abcd", "abcd")
    left = sorted(piece.name for piece in (tmp_path / "wandb").iterdir())
    assert left == ["offline-run-2-abcd", "offline-run-3-other", "run-4-abcd"]


def test_training_outlives_a_wandb_that_dies(tmp_path: Path) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("Connection lost\nand more")

    run = SimpleNamespace(
        settings=SimpleNamespace(sync_dir=str(tmp_path / "wandb/run-1-abcd")),
        url="http://host/run",
        log=dead,
        finish=lambda exit_code: pytest.fail("not asked again"),
    )
    tracker = WandbTracker(run, reason="", first=0)
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    *_, upload, trouble = tracker.messages()
    assert upload.startswith("upload the rest: ")
    assert upload.endswith(f"sync --include-online {tmp_path}/wandb/run-1-abcd")
    assert trouble == "W&B stopped before the end: ConnectionResetError Connection lost"


@pytest.fixture
def wandb_session(no_account: Path) -> Iterator[None]:
    """Settings read anew, and W&B's process gone afterwards."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


def test_wandb_offline_says_where_the_run_is(
    tmp_path: Path, wandb_session: None, capfd: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "sweep" / "0"
    job.mkdir(parents=True)
    (job.parent / "multirun.yaml").touch()
    tracker = open_tracker(WandbTracking(), job, config={"a": 1}, run_name="x", run_id="abcd1234")
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    (piece,) = (job.parent / "wandb").glob("offline-run-*-abcd1234")
    where, look, upload = tracker.messages()
    assert where == "W&B: offline (no API key found)"
    assert look.endswith(f"wandb leet {job.parent}/wandb")
    assert upload.endswith(f"wandb sync {piece}")
    assert capfd.readouterr() == ("", "")


def test_asking_for_online_without_a_key_is_an_error(tmp_path: Path, wandb_session: None) -> None:
    with pytest.raises(ValueError, match=r"tracking\.mode=online: no API key found; use tracking"):
        open_tracker(WandbTracking(mode="online"), tmp_path, config={}, run_name="x")
    assert not (tmp_path / "wandb").exists()


def test_wandb_mode_disabled_is_honoured(
    tmp_path: Path, no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "disabled")
    wandb.teardown()
    tracker = open_tracker(WandbTracking(), tmp_path, config={}, run_name="x")
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    wandb.teardown()
    assert tracker.messages() == ["W&B: disabled by WANDB_MODE or `wandb disabled`"]
    assert not (tmp_path / "wandb").exists()


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
        timeout=60,
    )


def inspect(file: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(WANDB), "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def logged(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """History items without W&B's own columns, having checked their steps."""
    assert [item["_step"] for item in items] == list(range(len(items)))
    return [{k: v for k, v in item.items() if not k.startswith("_")} for item in items]


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
    assert records[-1]["exit"] == {"exit_code": 0}
    summary = [r["summary"]["update"] for r in records if "summary" in r]
    assert any(update.get("test/target_accuracy") == 0.75 for update in summary)

    # The printed command uploads it.
    upload = done.stdout.splitlines()[-1].split(": ", 1)[1].split()
    with wandb_stub.running() as server:
        environment = {**os.environ, "WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": server.url}
        subprocess.run(upload, cwd=ROOT, env=environment, check=True, timeout=60)
        assert logged(server.history()) == STEPS
        assert server.exit_code == 0


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
        started = time.monotonic()
        # 3 s, not 15, for W&B to open the run.
        done = start(run_dir, url=url, script=SCRIPT.replace(*IMPATIENT))
        assert time.monotonic() - started < 20
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("W&B: offline (")
    (piece,) = (run_dir / "wandb").glob("*run-*-abcd1234")
    records = inspect(piece / "run-abcd1234.wandb")
    assert logged([r["history"]["item"] for r in records if "history" in r]) == STEPS
