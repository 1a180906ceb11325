"""W&B within this process: the account, the reasons to be offline, and what is said at the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chord.tracking import WandbTracking, open_tracker, wandb_access
from chord.tracking import wandb as tracking_wandb
from chord.tracking.wandb import WandbTracker
from chord.tracking.wandb_access import end_service


def session(**values: Any) -> SimpleNamespace:
    defaults = {"mode": "online", "base_url": "https://api.wandb.ai", "api_key": None}
    return SimpleNamespace(**{**defaults, "identity_token_file": None, **values})


def test_the_key_is_found_in_settings_and_netrc_for_the_right_host(no_account: Path) -> None:
    assert wandb_access.api_key(session()) is None
    assert wandb_access.api_key(session(api_key="from settings")) == "from settings"
    (no_account / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert wandb_access.api_key(session()) == "secret"
    assert wandb_access.api_key(session(base_url="https://api.forge.coreweave.com")) == "secret"
    assert wandb_access.api_key(session(base_url="https://wandb.example.org")) is None
    (no_account / "netrc").write_text("not a netrc file")
    assert wandb_access.api_key(session()) is None


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
    found = wandb_access.offline_reason(mode, session(**values), key)
    assert found == reason


def test_a_server_that_takes_connections_is_reachable_also_through_a_proxy(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert wandb_access.reachable(url)
        assert wandb_access.offline_reason("auto", session(base_url=url), "key") == ""
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert wandb_access.reachable("https://name.invalid")
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    assert not wandb_access.reachable("https://name.invalid")


def test_a_name_server_that_never_answers_costs_no_more_than_the_probe(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, ended = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        end.wait(60)
        ended.set()
        raise OSError

    monkeypatch.setattr(wandb_access, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", hang)
    assert not wandb_access.reachable("https://api.wandb.ai")
    assert not ended.is_set(), "the name server was waited for"
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
    end_service()
    yield
    end_service()


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
    monkeypatch.setenv("WANDB_MODE", "disabled")
    end_service()
    tracker = open_tracker(WandbTracking(), tmp_path, config={}, run_name="x")
    tracker.log(0, {"alpha": 1.0})
    tracker.finish()
    end_service()
    assert tracker.messages() == ["W&B: disabled by WANDB_MODE or `wandb disabled`"]
    assert not (tmp_path / "wandb").exists()


def test_a_service_that_misses_its_end_is_terminated(
    wandb_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb
    from wandb.sdk import wandb_setup

    wandb.setup(wandb.Settings(silent=True)).ensure_service()
    connection = wandb_setup._singleton._connection  # type: ignore[union-attr]
    process = connection._proc._process
    monkeypatch.setattr(wandb_access, "SERVICE_SECONDS", 0.5)

    async def unheard(request: object) -> None:
        pass

    monkeypatch.setattr(connection._client, "publish", unheard)
    end_service()
    assert process.returncode != 0
