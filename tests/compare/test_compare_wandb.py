"""Runs read from W&B are those of the run directories they were logged from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from compare_runs import write_run, write_sweep
from wandb_api_stub import Remote, replayed, serving

from chord.compare import wandb_source
from chord.compare.command import main
from chord.compare.reading import read_run
from chord.compare.wandb_source import read_wandb
from chord.run.files import FAILED, FINISHED, INTERRUPTED, RUNNING
from chord.tracking.wandb_access import end_service


@pytest.fixture
def logged_in(no_account: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A key in the environment; settings read anew, and W&B's process gone afterwards."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    end_service()
    yield monkeypatch
    end_service()


def test_a_run_from_wandb_is_that_of_its_directory(
    tmp_path: Path, logged_in: pytest.MonkeyPatch
) -> None:
    path = write_run(
        tmp_path / "abcd",
        steps=6,
        overrides=["experiment=rl", "seed=0"],
        choices={"experiment": "rl", "schedule": "rl_only"},
        schemas={"schedule": "constant"},
    )
    # Written by hand, it has no fingerprint.
    logged_in.setattr("chord.run.identity.agreement.SINCE_2", ())
    facts = json.loads((path / "run.json").read_text())
    facts |= {"contents": {"data.problems": {"path": "p", "sha256": "a" * 64, "bytes": 1}}}
    facts |= {"lengths": [[0, 4], [4, 6]], "changes": []}
    (path / "run.json").write_text(json.dumps(facts))
    ours, _ = read_run(path)
    assert ours is not None
    assert (ours.contents, ours.settings["lengths"]) == (
        {"data.problems": "a" * 12},
        "4, from step 4 on 6",
    )
    with serving([replayed(path)]) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        title, (theirs,), left_out = read_wandb("me/chord")
    assert (title, theirs.path, left_out) == ("me/chord", "me/chord/abcd", [])
    for name in ("name", "seed", "status", "steps", "planned_steps", "settings", "choices",
                 "versions", "final", "base", "best", "best_step", "curves", "seconds", "tokens",
                 "overrides", "contents"):  # fmt: skip
        assert getattr(theirs, name) == getattr(ours, name), name


def test_a_run_of_an_agent_has_the_settings_that_it_resolved(
    tmp_path: Path, logged_in: pytest.MonkeyPatch
) -> None:
    """W&B keeps a sweep's `schedule: linear` where the run says what that is."""
    path = write_run(tmp_path / "abcd", steps=6, schemas={"schedule": "constant"})
    ours, _ = read_run(path)
    assert ours is not None
    remote = replayed(path)
    settings = {key: value for key, value in remote.config.items() if key != "run"}
    remote.config |= {"schedule": "linear", "schedule.initial": 0.5}
    remote.config["run"]["settings"] = settings
    with serving([remote]) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        _, (theirs,), _ = read_wandb("me/chord")
    assert theirs.settings == ours.settings


def test_every_page_is_read_of_the_group_that_was_asked_for(
    tmp_path: Path, logged_in: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = write_sweep(tmp_path / "s", {"linear": [0.1, 0.2, 0.3], "cosine": [0.3, 0.35, 0.5]})
    states = {"3": "crashed", "4": "failed", "5": "running"}
    runs = [replayed(sweep / str(j), state=states.get(str(j), "finished")) for j in range(6)]
    with serving(runs) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        _, found, _ = read_wandb("me/chord/night")
        asked = [variables for name, variables in server.asked if name == "Runs"]
        main(["--wandb", "me/chord", "--out", str(tmp_path / "out"), "--no-page"])
    assert [run.status for run in found] == [FINISHED] * 3 + [INTERRUPTED, FAILED, RUNNING]
    assert len(asked) == 3
    assert json.loads(asked[0]["filters"]) == {"$or": [{"sweep": "night"}, {"group": "night"}]}
    assert asked[0]["entity"] == "me"
    out = capsys.readouterr().out
    assert "20.0 ± 24.8" in out, "mean of .1, .2, .3; 4.302653 · .1 / √3 = .2484"
    assert (tmp_path / "out" / "runs.csv").exists()


def test_a_history_that_is_a_sample_is_said(tmp_path: Path, logged_in: pytest.MonkeyPatch) -> None:
    logged_in.setattr(wandb_source, "ROWS", 3)
    with serving([replayed(write_run(tmp_path / "abcd"))]) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        _, (run,), left_out = read_wandb("me/chord")
    # Four steps, and the validation after the last.
    assert left_out[0].reason == (
        "W&B sent 3 of 5 rows; the history holds 3 of 4 steps: tokens and seconds are left out"
    )
    assert (run.tokens, run.seconds) == ({}, None)
    assert run.curves["alpha"].steps


def test_a_run_of_something_else_is_left_out(logged_in: pytest.MonkeyPatch) -> None:
    with serving([Remote("x", "other", {"lr": 1})]) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        _, runs, left_out = read_wandb("me/chord")
    assert not runs
    assert left_out[0].reason == "its configuration has no steps or no seed"


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ("me/other", "--wandb me/other: Could not find project other"),
        ("me/chord", "--wandb me/chord: contains no run"),
    ],
)
def test_no_project_and_no_run_are_one_line(
    logged_in: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    project: str,
    message: str,
) -> None:
    with serving([]) as server:
        logged_in.setenv("WANDB_BASE_URL", server.url)
        with pytest.raises(SystemExit):
            main(["--wandb", project])
    assert capsys.readouterr().err == f"error: {message}" + "\n"


def test_without_a_login_it_is_one_line_and_nothing_is_asked(
    logged_in: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logged_in.delenv("WANDB_API_KEY")
    with pytest.raises(SystemExit):
        main(["--wandb", "me/chord"])
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: --wandb me/chord: no API key found; run ")
    assert err.endswith("wandb login first\n")


def test_without_a_connection_it_is_one_line(
    logged_in: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logged_in.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(SystemExit):
        main(["--wandb", "me/chord"])
    expected = "error: --wandb me/chord: no connection to http://127.0.0.1:9\n"
    assert capfd.readouterr() == ("", expected)


@pytest.mark.parametrize("address", ["chord", "a/b/c/d", "a//b", ""])
def test_an_address_has_an_entity_and_a_project(address: str) -> None:
    with pytest.raises(ValueError, match="must be entity/project"):
        read_wandb(address)


def test_paths_beside_wandb_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--wandb", "me/chord"])
    assert capsys.readouterr().err.startswith("error: --wandb: cannot be combined with paths")
