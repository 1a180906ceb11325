"""What the commands without Hydra take: numbers, places to write to, settings of chord.train."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import chord.compare.command as compare
from chord.command_line.arguments import Number, refuse_input
from chord.config.composing import composed
from chord.config.root import TrainConfig
from chord.data.fields import Fields
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
    said = refused(command, capsys, *rest, flag, "~/x.jsonl")
    assert said.startswith(f"error: {flag} ~/x.jsonl: would be in a directory called ~; give $HOME")
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


FILES = [
    *[(*output, "mine.jsonl", "mine.jsonl") for output in OUTPUTS[:3] + OUTPUTS[4:5]],
    *[("compare.command", "--out", ("RUN",), "mine", f"mine/{name}") for name in compare.FILES],
    *[
        ("pretrain.command", flag, ("--micro",), "mine", f"mine/{name}")
        for flag, names in (
            ("--to", ("README.md", "base.safetensors", "teacher.safetensors")),
            ("--work", ("base-0.pt", "base-0.json", "teacher-0.pt", "teacher-0.json")),
        )
        for name in names
    ],
]


@pytest.mark.parametrize(("command", "flag", "rest", "given", "file"), FILES)
@pytest.mark.parametrize("content", [b'{"problem": "1+1", "answer": 2}\n', b"\x08", b"words"])
def test_a_file_of_another_kind_is_never_replaced(
    command: str,
    flag: str,
    rest: tuple[str, ...],
    given: str,
    file: str,
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path(file)
    mine.parent.mkdir(exist_ok=True)
    mine.write_bytes(content)
    if command == "make_expert":
        problems = tmp_path / "p.jsonl"
        problems.write_text('{"problem": "2+2", "answer": 4}\n' * 20)
        rest = ("model=hf", "model.path=nowhere", "data=jsonl", f"data.problems={problems}")
        monkeypatch.setattr("chord.make_expert._teacher", knows_nothing)
    said = refused(command, capsys, *rest, flag, given)
    named = f"{flag} {given}: {mine.name} in it" if given != file else f"{flag} {given}"
    assert said.startswith(f"error: {named}: "), said
    assert mine.read_bytes() == content


@contextmanager
def knows_nothing(config: TrainConfig) -> Iterator[object]:
    class Teacher:
        data = type("Data", (), {"expert_fields": Fields()})

    yield Teacher()


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


@pytest.mark.parametrize(
    ("problems", "to", "free"),
    [
        ("p.jsonl", "p.jsonl", "q.jsonl"),
        ("p.jsonl", "link.jsonl", "q.jsonl"),
        ("d", "d/new.jsonl", "new.jsonl"),
        ("d:train", "d/train-2.jsonl", "new.jsonl"),
        ("d/*.jsonl", "d/new.jsonl", "d/new.png"),
        ("d/**/*.jsonl", "d/a/b/new.jsonl", "new.jsonl"),
    ],
)
def test_nothing_is_written_where_the_configuration_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problems: str, to: str, free: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for name in ("p.jsonl", "d/train.jsonl"):
        Path(name).touch()
    Path("link.jsonl").symlink_to("p.jsonl")
    settings = ["data=jsonl", f"data.problems='{problems}'", "schedule=rl_only", "teacher=none"]
    config = composed([*settings, "model=hf", "model.path=m"])
    with pytest.raises(ConfigError, match=r"^--to .*: data\.problems=.* is read from there; give"):
        refuse_input(Path(to), f"--to {to}", config)
    refuse_input(Path(free), f"--to {free}", config)
    config = composed(["target=soft", "target.cache=t.safetensors"])
    with pytest.raises(ConfigError, match=r"^--to t: target\.cache=t\.safetensors is read"):
        refuse_input(Path("t.safetensors"), "--to t", config)
    # Who makes a cache again does not read it.
    refuse_input(Path("t.safetensors"), "--to t", config, but="target.cache")


@each_output
def test_a_command_that_fails_leaves_no_directory(
    command: str,
    flag: str,
    rest: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The run of `rest` is not there.
    wrong = {
        "show.command": "schedule=nope",
        "make_expert": "data=testbed",
        "cache_teacher": "teacher=none",
        "dashboard.command": "--nope",
        "pretrain.command": "--nope",
    }
    rest = (*rest, wrong[command]) if command in wrong else rest
    monkeypatch.chdir(tmp_path)
    refused(command, capsys, *rest, flag, "new/place/x.jsonl")
    assert list(tmp_path.iterdir()) == []
