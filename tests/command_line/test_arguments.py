"""What the commands without Hydra take: numbers, places to write to, settings of chord.train."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from chord.command_line.arguments import Number
from chord.errors import ConfigError

PARSERS = (
    "cache_teacher", "chat", "compare.command", "dashboard.command", "doctor.command", "export",
    "make_expert", "plan.command", "pretrain.command", "replay.command", "show.command",
)  # fmt: skip
OUTPUTS = [
    ("show.command", "--png", ()),
    ("cache_teacher", "--to", ()),
    ("make_expert", "--to", ()),
    ("export", "--to", ("RUN",)),
    ("dashboard.command", "--out", ("me/chord",)),
    ("compare.command", "--out", ("RUN",)),
    ("pretrain.command", "--to", ("--micro",)),
    ("pretrain.command", "--work", ("--micro",)),
]
each_output = pytest.mark.parametrize(("command", "flag", "rest"), OUTPUTS)


def actions() -> Iterator[tuple[str, argparse.Action]]:
    for name in PARSERS:
        parser = importlib.import_module(f"chord.{name}").parser()
        yield from ((name, action) for action in parser._actions)


def refused(command: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"chord.{command}").main(list(arguments))
    out, error = capsys.readouterr()
    assert (end.value.code, out, error.count("\n")) == (1, "", 1)
    return error


def test_every_argument_says_what_it_allows() -> None:
    # argparse says of another type no more than its name.
    assert {action.type for _, action in actions()} == {None, Path}
    numbers = [action for _, action in actions() if isinstance(action, Number)]
    assert {action.option_strings[0] for action in numbers} == {
        "--k", "--n", "--keep", "--temperature", "--max-new-tokens", "--seed", "--threads",
        "--steps", "--seeds", "--teacher", "--reference", "--signal",
    }  # fmt: skip
    for action in numbers:
        kind = "whole number" if action.whole else "number"
        for wrong in ("x", "nan", "inf", "-1", *(["1.5"] if action.whole else [])):
            with pytest.raises(ConfigError, match=f"^--x {wrong}: must be a {kind}(, at| within)"):
                action(argparse.ArgumentParser(), argparse.Namespace(), wrong, "--x")


def test_numbers_are_kept_one_or_several() -> None:
    parser, found = argparse.ArgumentParser(), argparse.Namespace()
    parser.add_argument("--seeds", action=Number, whole=True, nargs="+", default=[0])
    parser.add_argument("--share", action=Number, least=0, most=1, default=1.0)
    assert parser.parse_args([]) == argparse.Namespace(seeds=[0], share=1.0)
    found = parser.parse_args(["--seeds", "-3", "2", "--share", ".5"])
    assert found == argparse.Namespace(seeds=[-3, 2], share=0.5)


@each_output
def test_a_place_that_cannot_be_written_is_refused_before_anything_else(
    command: str,
    flag: str,
    rest: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    said = refused(command, capsys, *rest, flag, "file/x.jsonl")
    assert said.startswith(f"error: {flag} file/x.jsonl: ")
    # The run of `rest` is not there, and that would be the next thing to say.
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@each_output
def test_no_command_writes_into_the_directory_of_a_run(
    command: str,
    flag: str,
    rest: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN/run.json").write_text("{}")
    said = refused(command, capsys, *rest, flag, "RUN/deep/x.jsonl")
    assert f"{flag} RUN/deep/x.jsonl: lies inside the run directory" in said
    assert [path.name for path in Path("RUN").iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "command", ["plan.command", "cache_teacher", "make_expert", "show.command"]
)
def test_options_of_ones_own_are_found_and_not_trusted(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own/experiment"
    own.mkdir(parents=True)
    for name, text in (
        ("small", "steps: -3\n"),
        ("theirs", "seed: ${oc.env:HOME}\n"),
        ("codes", "defaults: [{override /reward: function}]\nreward: {function: a.b:c}\n"),
    ):
        (own / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    to = {"show.command": [], "plan.command": []}.get(command, ["--to", "x.jsonl"])
    for chosen, line in (
        ("small", "steps=-3: must be at least 1"),
        ("theirs", "seed=${oc.env:HOME}: "),
        ("codes", "reward.function=a.b:c: "),
    ):
        said = refused(command, capsys, *to, "--config-dir", "own", f"experiment={chosen}")
        assert said.startswith(f"error: {line}")
    said = refused(command, capsys, *to, "--config-dir", "nix")
    assert said.startswith("error: --config-dir nix: no such directory")
