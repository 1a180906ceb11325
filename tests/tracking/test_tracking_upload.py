"""What W&B's server refused or never answered is said at the end, and can be synced."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb_stub
from faults import seeds

from chord.tracking import WandbTracking, open_tracker
from chord.tracking import wandb as tracking_wandb
from chord.tracking.upload import Upload, read_upload
from chord.tracking.wandb_access import end_service

pytestmark = pytest.mark.faults

ROWS = 12


@pytest.fixture
def server(no_account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[wandb_stub.Server]:
    """A server at which we are logged in."""
    with wandb_stub.running() as running:
        end_service()
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        yield running
        end_service()


def lines(log: Path, *entries: dict[str, Any] | str) -> Path:
    log.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries))
    return log


def sent(offset: int, count: int) -> dict[str, Any]:
    return {"msg": "filestream: sending request", "history_offset": offset, "history_lines": count}


OK = {"msg": "filestream: request sent", "status": "200 OK"}
ERROR = {"msg": "filestream: request sent", "status": "500 Internal Server Error"}
REFUSED = "failed to upload: 403 Forbidden"
FATAL = {"msg": f"filestream: fatal error: filestream: {REFUSED}"}
NO_ROWS = {"msg": "filestream: sending request", "events_lines": 1}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        # 10 rows and then 5 more, all answered.
        ((sent(0, 10), OK, sent(10, 5), OK), Upload(15)),
        # The second was refused: 10 are there.
        ((sent(0, 10), OK, sent(10, 5), FATAL), Upload(10, REFUSED)),
        ((sent(0, 10), OK, sent(10, 5), ERROR, FATAL), Upload(10, REFUSED)),
        ((sent(0, 10), ERROR, sent(10, 5), FATAL), Upload(0, REFUSED)),
        # A run that goes on after 40 rows, with 7 more, which came or did not.
        ((sent(40, 7), OK), Upload(47)),
        ((sent(40, 7), FATAL), Upload(40, REFUSED)),
        # The same request, tried three times.
        ((sent(0, 5), sent(0, 5), sent(0, 5), OK), Upload(5)),
        # A request without rows is no upload of rows; half a line is none at all.
        ((NO_ROWS, OK, '{"msg": "fil'), Upload(None)),
        ((sent(0, 10), '{"msg": "fil', OK), Upload(10)),
        # An empty log, or one of another make, does not tell.
        (({"msg": "main: starting"}, "text"), None),
    ],
)  # fmt: skip
def test_what_was_acknowledged_is_read_off_the_log(
    entries: tuple[Any, ...], expected: Upload | None, tmp_path: Path
) -> None:
    assert read_upload(lines(tmp_path / "log", *entries)) == expected


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    assert read_upload(tmp_path / "none") is None


def logged(path: Path, rows: int = ROWS) -> list[str]:
    """The messages of a run that has so many rows at its end, some of them perhaps from before."""
    tracker = open_tracker(
        WandbTracking(), path, config={}, run_name="r", run_id="abcd1234", save_dir=path
    )
    for step in range(rows):
        tracker.log(step, {"alpha": step / 16})
    tracker.finish()
    return tracker.messages()


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(few=1, full=20))
@pytest.mark.parametrize("status", [403, 500, 0])
def test_what_a_server_has_not_taken_is_said_and_the_printed_command_uploads_it(
    status: int,
    seed: int,
    server: wandb_stub.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking_wandb, "FINISH_SECONDS", 3.0)
    have = random.Random(seed).randrange(ROWS)
    if have:
        # W&B sends what it has every 15 seconds; a run that is resumed has sent its first part.
        assert len(logged(tmp_path, have)) == 2
        assert len(server.lines) == have
    server.answers = lambda _: status
    where, _, upload, lacks, *_ = logged(tmp_path)
    assert where.startswith(f"W&B: {server.url}")
    assert len(server.lines) == have
    assert lacks.startswith(f"warning: W&B has {have} of {ROWS} rows (")
    assert (status == 403) == ("403 Forbidden" in lacks)
    # The server is well again.
    server.answers = lambda _: 200
    command = shlex.split(upload.partition(": ")[2])
    subprocess.run(command, env=dict(os.environ), check=True, capture_output=True, timeout=300)
    assert [line["alpha"] for line in server.history()] == [step / 16 for step in range(ROWS)]


def test_an_upload_that_was_refused_at_once_counts_no_rows(
    server: wandb_stub.Server, tmp_path: Path
) -> None:
    server.answers = lambda _: 403
    *_, upload, lacks = logged(tmp_path)
    assert upload.startswith("upload the rest: ")
    assert lacks.startswith(f"warning: W&B has 0 of {ROWS} rows (failed to upload: 403 Forbidden")
    assert lacks.endswith(f"the rest is in {Path(upload.split()[-1])}")


def test_a_whole_upload_says_nothing_more(server: wandb_stub.Server, tmp_path: Path) -> None:
    assert len(logged(tmp_path)) == 2
    assert len(server.lines) == ROWS


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WANDB_MODE", "sometimes", "WANDB_MODE=sometimes: Input should be 'online', "),
        ("WANDB_PROJECT", "a/b", "WANDB_PROJECT=a/b: Invalid project name 'a/b': cannot contain"),
        ("WANDB_TAGS", "x" * 65, f"WANDB_TAGS={'x' * 65}: Tag 'xxx"),
        ("WANDB_API_KEY", " k", "WANDB_API_KEY=...: API key cannot start or end with whitespace"),
    ],
)
def test_a_variable_that_wandb_cant_use_is_one_line(
    name: str, value: str, said: str, no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        WandbTracking().check_environment()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_an_empty_variable_is_one_that_is_not_set(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.setenv(name, "")
    WandbTracking().check_environment()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"project": "a/b"}, "tracking.project=a/b: must have at most 128 characters, none of"),
        ({"project": "x" * 129}, f"tracking.project={'x' * 129}: must have at most 128"),
        ({"tags": ["a", "x" * 65]}, f"tracking.tags={'x' * 65}: must have from 1 to 64 characters"),
        ({"tags": [""]}, "tracking.tags=: must have from 1 to 64 characters"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        WandbTracking(**settings)
    assert str(caught.value).startswith(said)


GIVEN = WandbTracking(project="mine", name="me", tags=["a"], group="g", notes="n")
FOUND = {"project": "theirs", "name": "it", "tags": ("b", "c"), "group": "h", "notes": "m"}


@pytest.mark.parametrize(
    ("tracking", "environment", "expected"),
    [
        (GIVEN, True, ("mine", "me", ("a",), "g", "n")),
        (WandbTracking(), True, ("theirs", "it", ("b", "c"), "h", "m")),
        (WandbTracking(), False, ("chord", "r", (), None, None)),
    ],
)
def test_settings_go_before_variables_and_those_before_defaults(
    tracking: WandbTracking,
    environment: bool,
    expected: tuple[Any, ...],
    no_account: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end_service()
    if environment:
        for name, value in {
            "PROJECT": "theirs", "NAME": "it", "TAGS": "b,c", "RUN_GROUP": "h", "NOTES": "m",
            "DIR": str(tmp_path / "elsewhere"),
        }.items():  # fmt: skip
            monkeypatch.setenv(f"WANDB_{name}", value)
    tracker = open_tracker(tracking, tmp_path / "run", config={}, run_name="r")
    run = tracker._run  # type: ignore[attr-defined]
    settings = run.settings
    found = (settings.project, settings.run_name, tuple(settings.run_tags or ()),
             settings.run_group, settings.run_notes)  # fmt: skip
    tracker.finish()
    end_service()
    assert found == expected
    where = tmp_path / ("elsewhere" if environment else "run")
    assert len(list((where / "wandb").glob("offline-run-*"))) == 1
