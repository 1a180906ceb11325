"""How commands without Hydra end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chord.io.printing import FULL, OURS, let_hydra_raise, readable_errors, wants_traceback

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("--out x:\n no such place"), 1, "--out x: no such place\n"),
        (FileNotFoundError("gone"), 1, "gone\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, readable_errors():
        raise error
    assert end.value.code == code
    assert capsys.readouterr() == ("", line)


def test_who_asks_for_the_traceback_gets_it_and_then_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv(OURS, raising=False)
    with pytest.raises(SystemExit) as end, readable_errors():
        raise ValueError("no such place")
    assert end.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "no such place"


def test_what_hydra_is_told_is_not_taken_for_the_users_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (FULL, OURS):
        monkeypatch.setenv(name, "1")  # so that it is taken back
        monkeypatch.delenv(name)
    let_hydra_raise()
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    assert not wants_traceback()


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), readable_errors():
        raise KeyError("a defect")


# What a command imports first, whichever it is, interrupts it.
LOADING = "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)"


@pytest.mark.parametrize("word", ["-m", "chord-train", "-c"])
def test_a_command_that_is_interrupted_while_it_is_loaded_says_so_in_a_word(
    tmp_path: Path, word: str
) -> None:
    for name in ("hydra", "numpy", "omegaconf", "rich", "torch"):
        (tmp_path / f"{name}.py").write_text(LOADING)
    script = tmp_path / "chord-train"
    script.write_text("from chord.train import main\nmain()\n")
    load = {"-m": ["-m", "chord.train", "steps=1"], "chord-train": [str(script)],
            "-c": ["-c", "import chord.train"]}[word]  # fmt: skip
    found = subprocess.run(
        [sys.executable, *load], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}, cwd=tmp_path,
    )  # fmt: skip
    # As Python ends whoever is interrupted: by the signal, which shells show as 130.
    assert found.returncode == -signal.SIGINT
    if word == "-c":
        # Whoever imports chord as a library keeps Python's own way.
        assert "Traceback" in found.stderr
    else:
        assert found.stderr == "interrupted\n"
