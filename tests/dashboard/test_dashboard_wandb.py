"""The command: what is written without an account, what a server here is sent with one."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_api_stub import Handler, Remote, Server, serving

from chord.dashboard import publish
from chord.dashboard.command import main
from chord.dashboard.sections import SECTIONS
from chord.tracking.wandb_access import end_service

ODD = "it's a=b"  # wandb-workspaces' own strings would make `a==b` of it, and trip over the quote


@pytest.fixture
def here(
    tmp_path: Path, no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """An empty directory, nobody logged in; W&B's settings read anew, its process gone after."""

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses pydantic's older names
        import wandb_workspaces.workspaces  # noqa: F401

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    end_service()
    yield monkeypatch
    end_service()


@pytest.fixture
def server(here: pytest.MonkeyPatch) -> Iterator[Server]:
    runs = [Remote("a", "a run", {}, group=ODD), Remote("b", "another", {}, group="night")]
    with serving(runs) as server:
        here.setenv("WANDB_BASE_URL", server.url)
        here.setenv("WANDB_API_KEY", "0" * 40)
        yield server


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error.rstrip().removeprefix("error: ")


def sent(server: Server, mutation: str) -> dict[str, Any]:
    (variables,) = [variables for name, variables in server.asked if name == mutation]
    return variables


def test_without_an_account_the_file_holds_the_workspace(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setattr(sys, "stdin", None)  # whoever asks fails
    main(["me/chord", "--sweep", ODD, "--schedule", "linear", "--schedule", "cosine"])
    out, err = capfd.readouterr()
    path = Path("outputs/dashboard/me_chord_it_s_a_b.json")
    assert out.splitlines()[:2] == [
        f"specification and workspace: {path}",
        "W&B: nothing was created (no API key found)",
    ]
    assert err == ""
    assert "wandb leet outputs/DATE/TIME/wandb\n" in out
    assert "wandb sync -e me -p chord outputs/DATE/TIME/wandb/offline-run-*\n" in out
    content = json.loads(path.read_text())
    assert list(content) == ["specification", "workspace"]
    assert content["workspace"]["displayName"] == "chord it's a b"


def test_a_workspace_filters_groups_and_draws_what_was_asked_for(
    here: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "x.json"
    main(["me/chord", "--sweep", ODD, "--schedule", "linear", "--schedule", "cosine",
          "--out", str(out)])  # fmt: skip
    view = json.loads(out.read_text())["workspace"]["spec"]["section"]
    (runs,) = view["runSets"]
    either, schedule = runs["filters"]["filters"]
    assert [(each["key"]["name"], each["op"], each["value"]) for each in either["filters"]] == [
        ("group", "IN", [ODD]),
        ("sweep", "IN", [ODD]),
    ]
    assert either["filters"][1]["connector"] == "OR"
    # W&B keeps a value of the configuration under `value`, after the first name.
    assert schedule["key"] == {"section": "config", "name": "run.value.options.schedule"}
    assert (schedule["op"], schedule["value"]) == ("IN", ["linear", "cosine"])
    assert schedule["connector"] == "AND"
    assert [key["name"] for key in runs["grouping"]] == [
        "run.value.options.schedule",
        "run.value.options.weighting",
    ]
    assert "summary:test/retained/min" in runs["runFeed"]["columnOrder"]
    drawn = view["panelBankConfig"]["sections"]
    assert [section["name"] for section in drawn] == [section.name for section in SECTIONS]
    lines, bars = drawn[0]["panels"][0]["config"], drawn[-1]["panels"][1]["config"]
    assert (lines["xAxis"], lines["metrics"]) == ("_step", ["alpha"])
    assert (lines["yAxisMin"], lines["yAxisMax"], lines["smoothingType"]) == (0, 1, "none")
    assert (lines["groupAgg"], lines["groupArea"]) == ("mean", "stddev")
    assert bars["metrics"] == ["test/target_accuracy", "base/test/target_accuracy"]
    assert (bars["groupAgg"], bars["groupArea"]) == ("mean", "stddev")
    scatter = drawn[-1]["panels"][0]["config"]
    assert scatter["xAxis"] == "summary:test/retained/mean"
    assert scatter["yAxis"] == "summary:test/target_accuracy"


def test_the_newest_offline_runs_are_named(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("10_sweep", "11_sweep"):
        Path("outputs/2026-01-31", name, "wandb").mkdir(parents=True)
    main(["me/chord", "--sweep", "10_sweep"])
    assert "leet outputs/2026-01-31/10_sweep/wandb\n" in capfd.readouterr().out


def test_without_a_connection_or_with_wandb_offline_nothing_is_asked(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setenv("WANDB_API_KEY", "0" * 40)
    here.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    main(["me/chord"])
    assert "nothing was created (no connection to http://127.0.0.1:9)\n" in capfd.readouterr().out


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb_mode_goes_first(
    server: Server, here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], mode: str
) -> None:
    here.setenv("WANDB_MODE", mode)
    main(["me/chord"])
    assert "nothing was created (" in capfd.readouterr().out
    assert not server.asked


def test_the_server_is_sent_workspace_and_report(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["me/chord", "--sweep", ODD, "--schedule", "linear", "--schedule", "cosine"])
    out, err = capfd.readouterr()
    workspace, report = sent(server, "UpsertView2"), sent(server, "upsertView")
    name = workspace["name"].removeprefix("nw-").removesuffix("-v")
    assert out.splitlines()[1:] == [
        f"W&B workspace: {server.url}/me/chord?nw={name}",
        f"W&B report: {server.url}/me/chord/reports/chord-it's-a-b--VR",
    ]
    assert err == ""
    assert (workspace["entityName"], workspace["projectName"]) == ("me", "chord")
    written = json.loads(Path("outputs/dashboard/me_chord_it_s_a_b.json").read_text())
    assert json.loads(workspace["spec"]) == written["workspace"]["spec"]
    filters = [json.loads(v["filters"]) for name, v in server.asked if name == "Runs"]
    assert filters == [{"$or": [{"sweep": ODD}, {"group": ODD}]}]
    assert (report["type"], report["displayName"]) == ("runs", "chord it's a b")
    grids = [block for block in json.loads(report["spec"])["blocks"]
             if block["type"] == "panel-grid"]  # fmt: skip
    for section, grid in zip(SECTIONS, grids, strict=True):
        panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
        assert [each["config"]["chartTitle"] for each in panels] == [
            c.title for c in section.charts
        ]
        places = {(each["layout"]["x"], each["layout"]["y"]) for each in panels}
        assert len(places) == len(panels)
        for run_set, schedule in zip(
            grid["metadata"]["runSets"], ["linear", "cosine"], strict=True
        ):
            assert run_set["name"] == f"schedule={schedule}"
            assert run_set["project"]["id"] == "7"
            assert run_set["filters"]["filters"][0]["filters"][0]["value"] == [ODD]
            assert run_set["filters"]["filters"][1]["value"] == [schedule]
            assert [key["name"] for key in run_set["grouping"]] == [
                "run.value.options.schedule",
                "run.value.options.weighting",
            ]


def test_a_sweep_that_is_not_there_is_named_with_those_that_are(
    server: Server, here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = list(server.runs)

    def of_group(handler: Handler, asked: dict[str, Any]) -> dict[str, Any]:
        server.runs = [] if "nigth" in asked["filters"] else runs
        return every(handler, asked)

    every = Handler._Runs
    here.setattr(Handler, "_Runs", of_group)
    error = refused(capfd, "me/chord", "--sweep", "nigth")
    assert error == (
        "me/chord: --sweep nigth: no such sweep or group; did you mean 'night'? "
        f"(allowed: {ODD}, night)"
    )
    assert "UpsertView2" not in dict(server.asked)


def test_no_such_project_is_one_line(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    assert refused(capfd, "me/other") == "me/other: Could not find project other"


def test_what_was_saved_before_an_error_is_said(
    server: Server, here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setattr(Handler, "_ProjectInternalId", lambda *_: {"project": None})
    with pytest.raises(SystemExit):
        main(["me/chord"])
    out, err = capfd.readouterr()
    assert "W&B workspace: " in out
    assert "W&B report" not in out
    assert err.startswith("error: me/chord: Run set 'all runs' project 'me/chord' not found.")
    assert err.count("\n") == 1


def test_a_server_that_never_answers_is_given_up(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setattr(publish, "INIT_SECONDS", 1)
    here.setenv("WANDB_API_KEY", "0" * 40)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert refused(capfd, "me/chord").startswith("me/chord: Failed to verify credentials")


def test_a_missing_package_is_named(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.setattr(importlib.util, "find_spec", lambda _: None)
    assert refused(capfd, "me/chord") == (
        "chord.dashboard: needs wandb-workspaces; pip install 'wandb-workspaces>=0.4.13'"
    )


def test_a_place_that_can_not_be_written_is_named(
    here: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    error = refused(capfd, "me/chord", "--out", ".")
    assert error == "--out .: can't be written (Is a directory); give another place"
    error = refused(capfd, "me/chord", "--out", "file/x.json")
    assert error.startswith("--out file/x.json: can't be written (")
    assert refused(capfd, "chord") == "chord: must be entity/project"


def test_help_loads_none_of_the_heavy_packages() -> None:
    script = (
        "import sys; from chord.dashboard.command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'wandb', 'wandb_workspaces', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.endswith("[]\n")
