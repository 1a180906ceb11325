"""How every command ends."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from chord.errors import ConfigError
from chord.io.printing import FULL, OURS, let_hydra_raise, wants_traceback

ROOT = Path(__file__).parents[2]


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
# These two have no script of their own.
COMMANDS = [*SCRIPTS.values(), "chord.cache_teacher:main", "chord.make_expert:main"]
each_command = pytest.mark.parametrize("address", COMMANDS)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs a command here; with an `error`, one that is raised while it is at work."""
    monkeypatch.chdir(tmp_path)
    for name in (FULL, OURS):
        monkeypatch.setenv(name, "1")  # so that it is taken back
        monkeypatch.delenv(name)

    def run(address: str, *arguments: str, error: BaseException | None = None) -> None:
        def fail(*_: object) -> None:
            assert error is not None
            raise error

        if error is not None:
            monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", fail)
        monkeypatch.setattr(sys, "argv", ["chord", *arguments])
        module, _, main = address.partition(":")
        before = signal.getsignal(signal.SIGINT)
        try:
            getattr(importlib.import_module(module), main)()
        finally:
            signal.signal(signal.SIGINT, before)

    return run


@each_command
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("--out x:\n no such place"), 1, "error: --out x: no such place\n"),
        (FileNotFoundError(2, "No such file", "a"), 1, "error: a: No such file\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_cause_ends_every_command_in_one_line(
    run: Callable[..., None],
    address: str,
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        run(address, error=error)
    assert end.value.code == code
    assert capsys.readouterr() == ("", line)


@each_command
@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, RuntimeError])
def test_a_defect_of_ours_keeps_its_traceback_in_every_command(
    run: Callable[..., None], address: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="a defect"):
        run(address, error=kind("a defect"))


@each_command
def test_an_argument_that_no_command_has_is_one_line(
    run: Callable[..., None], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(address, "--nope")
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (1, 1)
    assert re.match(r"error: .*; see python -m chord\.\w+ --help\n", said)


@each_command
def test_an_empty_argument_is_one_line(
    run: Callable[..., None], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(address, "")
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (1, 1)
    assert said.startswith("error: '': an argument is empty")


@each_command
def test_who_asks_for_the_traceback_gets_it_and_then_the_line(
    run: Callable[..., None],
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(FULL, "1")
    with pytest.raises(SystemExit) as end:
        run(address, error=ConfigError("no such place"))
    assert end.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: no such place"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["--run", "-m"], "--run --multirun: only one of them can be given"),
        (["--resolve"], "--resolve: needs --cfg job"),
        (["--config-dir", "nix"], "--config-dir nix: no such directory"),
        (["--help", "--config-dir", "nix"], "--config-dir nix: no such directory"),
        (["--help", "--config-dir"], "argument --config-dir/-cd: expected one argument"),
        (["-m", "hydra.run.dir=a,b"], "hydra.run.dir=a,b: several values of a setting of Hydra's"),
        (["--cfg", "foo"], "argument --cfg/-c: invalid choice: 'foo'"),
        (["-cp", "x"], "--config-path x: the configuration is chord's own; --config-dir DIR adds"),
        (["--config-name=x"], "--config-name x: the configuration is chord's own; --config-dir "),
        (["resume="], "resume=: names no directory; give one, or leave resume= out"),
        (["fork=''"], "fork=: names no directory; give one, or leave fork= out"),
        (["hydra.run.dir="], "hydra.run.dir=: names no directory; give one, or leave hydra.run"),
        (["-m", "hydra.sweep.dir="], "hydra.sweep.dir=: names no directory; give one, or leave "),
        (["experiment=smoke", "-m", "sed=1"], "sed=1: no such setting; did you mean 'seed'?"),
    ],
)
def test_flags_of_hydra_are_refused_in_one_line(
    run: Callable[..., None], typed: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run("chord.train:main", *typed)
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (1, 1)
    assert said.startswith(f"error: {line}")


def test_evaluate_names_its_setting(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("chord.evaluate:main", "run=nix")
    assert capsys.readouterr().err.startswith("error: run=nix: no such directory; ")
    for name, kind in (("run", "directory"), ("to", "directory"), ("problems", "file")):
        with pytest.raises(SystemExit):
            run("chord.evaluate:main", f"{name}=")
        assert capsys.readouterr().err.startswith(f"error: {name}=: names no {kind}; give one, or ")


def test_what_hydra_is_told_is_not_taken_for_the_users_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (FULL, OURS):
        monkeypatch.setenv(name, "1")  # so that it is taken back
        monkeypatch.delenv(name)
    let_hydra_raise()
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    assert not wants_traceback()


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
