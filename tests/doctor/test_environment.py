"""What the doctor says of a machine: packages, disk, terminal, variables."""

from __future__ import annotations

import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from chord.doctor import environment as machine
from chord.doctor.command import main
from chord.doctor.finding import NOTE, OK, WRONG, Finding

Usage = namedtuple("Usage", "total used free")


def marks(findings: list[Finding]) -> list[str]:
    return [finding.mark for finding in findings]


def test_packages_outside_their_bounds_or_missing_are_wrong_with_what_to_install() -> None:
    old, gone = machine.packages(["pytest>=9999", "no-such-package>=1", "rich>=1"])
    assert (old.mark, old.remedy) == (WRONG, "pip install 'pytest>=9999'")
    assert "is outside >=9999" in old.what
    assert (gone.mark, gone.remedy) == (WRONG, "pip install 'no-such-package>=1'")


def test_an_extra_counts_as_there_when_all_of_it_is() -> None:
    required = [
        "rich>=1",
        'pytest>=1; extra == "one"',
        'no-such-package>=1; extra == "one"',
        'pytest>=1; extra == "two"',
        'no-such-package>=1; extra == "dev"',
    ]
    _, there, absent = machine.packages(required)
    assert (there.mark, there.what) == (OK, "installed extras: two")
    assert (absent.mark, absent.what) == (NOTE, "extras not installed: one")


def test_a_checkout_that_is_not_installed_is_a_note() -> None:
    assert marks(machine.packages([])) == [NOTE]


def test_a_full_disk_and_a_place_that_cannot_be_written_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert marks(list(machine._place(tmp_path / "not" / "yet", "runs"))) == [OK]
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(10, 10, 0))
    (full,) = machine._place(tmp_path, "runs")
    assert full.mark == WRONG
    assert "0.0 GB free" in full.what
    monkeypatch.setattr(machine.os, "access", lambda path, how: False)
    (closed,) = machine._place(tmp_path, "runs")
    assert (closed.mark, str(tmp_path) in closed.what) == (WRONG, True)


def test_a_network_file_system_and_the_place_of_temporary_files_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "file_system", lambda place: "nfs4")
    runs, network, files, _ = machine.disk(tmp_path)
    assert network == Finding(
        NOTE,
        f"{tmp_path} is on a network file system (nfs4)",
        "its locks must be honoured on every machine: see docs/reliability.md",
    )
    assert runs.what.startswith(f"runs are written below {tmp_path}, ")
    assert files.what.startswith(f"temporary files are written below {tempfile.gettempdir()}, ")


def test_the_last_mount_on_the_longest_path_is_the_file_system(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "disk / ext4 rw 0 0\n"
        f"host:/x {tmp_path} ext3 rw 0 0\n"
        f"host:/y {tmp_path} nfs4 rw 0 0\n"
        "disk /elsewhere/longer/than/any/of/them xfs rw 0 0\n"
    )
    assert machine.file_system(tmp_path / "runs", mounts) == "nfs4"
    assert machine.file_system(Path("/"), mounts) == "ext4"
    assert machine.file_system(Path("/"), tmp_path / "absent") == ""


def test_a_terminal_without_utf8_is_a_note() -> None:
    assert marks(machine.terminal("UTF-8")) == [OK]
    assert machine.terminal("latin-1")[0].mark == NOTE


def test_variables_are_listed_and_a_key_never_is() -> None:
    values = {
        "OMP_NUM_THREADS": "4",
        "WANDB_API_KEY": "secret",
        "WANDB_MODE": "offline",
        "PS1": "$",
    }
    (found,) = machine.variables(values)
    assert found.mark == NOTE
    assert found.what.endswith(": OMP_NUM_THREADS=4, WANDB_MODE=offline")
    assert marks(machine.variables({"WANDB_API_KEY": "secret"})) == [OK]


def test_the_report_of_this_machine_names_its_python_and_its_packages(
    no_account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([])
    shown = capsys.readouterr().out
    assert shown.startswith("this machine\n  ok     Python 3.")
    assert "no API key found" in shown
    assert shown.endswith("nothing is wrong\n")
