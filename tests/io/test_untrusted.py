"""Files that may be anybody's cost neither the process nor the day; texts don't rule a terminal."""

from __future__ import annotations

import json
import os
import unicodedata
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trusting
from compare_runs import write_run
from conftest import compose_config
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from chord.chat import talk
from chord.command_line.ending import ending
from chord.compare.command import main as compare
from chord.compare.reading import read_run
from chord.config.messages import stop
from chord.data.batch import Problem
from chord.data.files import JsonLines, open_rows
from chord.errors import ConfigError
from chord.io.reading import (
    DEPTH,
    FACTS,
    DeepError,
    depth,
    parse_json,
    printable,
    read_bytes,
    read_json,
    read_lines,
    read_yaml,
)
from chord.rewards import Reward
from chord.run.directory import RunDirectory
from chord.run.files import read_rows, read_status
from chord.run.opening import configuration, open_run
from chord.sweep.directory import in_its_directory, read_sweep
from chord.sweep.points import Point
from chord.sweep.table import status_table
from chord.train import refuse_directories

pytestmark = pytest.mark.faults
Make = Callable[[Path], None]
DEEP = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"


def written(text: str) -> Make:
    """What writes a text to a path."""
    return lambda path: path.write_text(text) and None


def large(path: Path) -> None:
    """A terabyte without a line end that occupies no disk."""
    path.touch()
    os.truncate(path, 2**40)


HOSTILE: dict[str, Make] = {
    "deep": written(DEEP),
    "deeper than the parsers": written('{"a": ' + "[" * 10_000_000),
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "directory": Path.mkdir,
    "large": large,
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00") and None,
}
hostile = pytest.mark.parametrize("make", HOSTILE.values(), ids=list(HOSTILE))


@hostile
def test_a_hostile_json_file_is_named_with_its_trouble(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "run.json")
    with pytest.raises(ValueError, match=r"^run\.json "):
        read_json(tmp_path / "run.json")


@hostile
@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_compare_leaves_out_a_run_with_a_hostile_file(
    tmp_path: Path, make: Make, name: str
) -> None:
    path = write_run(tmp_path / "run")
    (path / name).unlink()
    make(path / name)
    run, left_out = read_run(path)
    assert run is None
    (entry,) = left_out
    assert entry.reason.startswith(name)


@hostile
@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "timings.jsonl", "evaluations.jsonl", "samples.jsonl", "status.json"]
)
def test_compare_reads_what_is_beside_a_hostile_file(tmp_path: Path, make: Make, name: str) -> None:
    path = write_run(tmp_path / "run")
    (path / name).unlink(missing_ok=True)
    make(path / name)
    run, left_out = read_run(path)
    assert run is not None
    assert name == "status.json" or any(name in entry.what for entry in left_out)


@hostile
def test_a_run_or_sweep_with_hostile_facts_is_refused_in_a_sentence(
    tmp_path: Path, make: Make
) -> None:
    make(tmp_path / "run.json")
    make(tmp_path / "sweep.json")
    make(tmp_path / "status.json")
    # A pipe or a directory is no run's file at all.
    with pytest.raises(ConfigError, match=r"run\.json"):
        open_run(tmp_path)
    if (tmp_path / "sweep.json").is_file():
        with pytest.raises(ConfigError, match=r"sweep\.json can't be read"):
            read_sweep(tmp_path)
    assert read_status(tmp_path) == {}


@hostile
def test_hostile_data_files_are_refused_in_a_sentence(tmp_path: Path, make: Make) -> None:
    path = tmp_path / "data.jsonl"
    make(path)
    with pytest.raises(ValueError, match=r"data\.jsonl"):
        list(open_rows("data.problems", str(path)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("config optimizer eps", 10**400),
        ("config rollout rows_at_a_time", "${a.b}"),
        ("config steps", "???"),
        ("config evaluation retained", "${steps}"),
        ("config model path", "x" * 300),
        ("schemas mix", 3),
        ("schemas tracking", "${"),
        ("config", []),
    ],
)
def test_values_that_no_run_wrote_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: object
) -> None:
    trusting.begun(RunDirectory(tmp_path / "run", compose_config("tracking=off"), "run"))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    inner = facts
    *above, last = place.split()
    for name in above:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    with pytest.raises((ConfigError, OSError)):
        configuration(tmp_path / "run", trust=True)
    # Not only because it is an edit.
    monkeypatch.setattr("chord.run.opening.refuse_unknown", lambda *_: None)
    with pytest.raises((ConfigError, OSError)):
        configuration(tmp_path / "run", trust=True)


def test_a_deep_line_of_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": 1}\n' + DEEP + "\n")
    rows = JsonLines(path)
    assert rows[0] == {"a": 1}
    with pytest.raises(ValueError, match=r"data\.jsonl line 2: .*nested deeper than 100 levels"):
        rows[1]
    with pytest.raises(ValueError, match=r"data\.jsonl, line 2: not a JSON object"):
        read_rows(path)


# A billion strings in ten lines: 10 lists, each of ten times the one before.
BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "alias"),
        ("a: &a [*a]", "alias"),
        ("[" * 100_000, "nested deeper"),
        ("- " * 100_000, "nested deeper"),
        ("? " * 100_000, "nested deeper"),
        # In base 60 as YAML 1.1 has it, digits are added to a number of up to a million bits.
        ("steps: " + "1:" * 100_000 + "1", "a number of 200001 characters"),
        ("steps: " + "9" * 5000, "a number of 5000 characters"),
        ("steps: !!python/object/apply:os.getcwd []", "tag"),
        ("steps: !!timestamp x", "tag"),
        ("date: 2026-13-45", "is not YAML"),
        ("a: [", "is not YAML"),
        ("\x00", "is not YAML"),
        ("x" * 2**20 + "x", "larger than 1 MiB"),
    ],
    ids=range(13),
)
def test_yaml_that_would_unfold_recur_or_make_objects_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"^config\.yaml .*{reason}"):
        read_yaml(tmp_path / "config.yaml")


def test_yaml_within_the_limits_is_read(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(DEPTH):
        deep = [deep]
    (tmp_path / "c.yaml").write_text(f"{'[' * DEPTH}1{']' * DEPTH}")
    assert read_yaml(tmp_path / "c.yaml") == deep
    (tmp_path / "c.yaml").write_text("a: 1.0e-05\nb: {c: [null, 'x', 2]}\n")
    assert read_yaml(tmp_path / "c.yaml") == {"a": 1e-5, "b": {"c": [None, "x", 2]}}


@pytest.mark.parametrize("value", ["1000000000000000", "-1", "1e15", "1.0e+15", ".nan", "true"])
def test_a_number_of_steps_that_no_run_takes_is_none(tmp_path: Path, value: str) -> None:
    path = write_run(tmp_path / "run")
    (path / "config.yaml").write_text(f"steps: {value}\nseed: 0\n")
    run, left_out = read_run(path)
    assert run is None
    assert [entry.reason for entry in left_out] == ["config.yaml has no steps"]


def test_json_has_limits_in_depth_and_keeps_whole_numbers() -> None:
    assert depth(parse_json(b"[" * DEPTH + b"]" * DEPTH)) == DEPTH
    for levels in (DEPTH + 1, 1000, 1100, 200_000):
        with pytest.raises(DeepError):
            parse_json(b"[" * levels + b"]" * levels)
        with pytest.raises(DeepError):
            # NaN sends it to Python's reader, which recurs.
            parse_json(b"[NaN, " + b"[" * levels + b"]" * levels + b"]")
    # More brackets than levels: 0 in a text, 1 beside each other.
    assert parse_json(b'["' + b"[" * 200 + b'"]') == ["[" * 200]
    assert parse_json(b"[" + b"[]," * 200 + b"1]") == [[]] * 200 + [1]
    assert depth(parse_json(b"[[]," + b"[" * (DEPTH - 1) + b"]" * DEPTH)) == DEPTH
    assert parse_json(b"12345678901234567890123") == 12345678901234567890123
    assert depth({"a": [1, {"b": 2}]}) == 3
    with pytest.raises(ValueError, match=r"infinity"):
        parse_json(b"1" * 5000)


def test_limits_hold_at_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345\n1234")
    assert read_bytes(path, 10) == b"12345\n1234"
    assert list(read_lines(path, 6)) == [b"12345\n", b"1234"]
    with pytest.raises(ValueError, match="f is larger than"):
        read_bytes(path, 9)
    with pytest.raises(ValueError, match="f line 1: is longer than"):
        list(read_lines(path, 5))
    large(path)
    with pytest.raises(ValueError, match=f"f is larger than {FACTS >> 20} MiB"):
        read_bytes(path)


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl", "config.yaml", "run.json.tmp", "checkpoints/last.partial", ".hydra",
        ".hydra/config.yaml",
    ],
)  # fmt: skip
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_through_a_link_in_a_run(
    tmp_path: Path, name: str, dangling: bool
) -> None:
    target = tmp_path / "mine"
    if not dangling:
        target.write_text("mine")
    path = write_run(tmp_path / "run")
    refuse_directories([f"resume={path}"])
    (path / "checkpoints").mkdir()
    (path / name).parent.mkdir(exist_ok=True)
    if (path / name).is_dir():
        (path / name).rename(tmp_path / "moved")
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(target)
    with pytest.raises(ConfigError, match=rf"^resume=.*: {name} in it is a symbolic link"):
        refuse_directories([f"resume={path}"])
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"^resume_sweep=.*: run: {name} in it is a symbolic"):
        in_its_directory([f"resume_sweep={tmp_path}"])
    # A run's directory may be one.
    (path / name).unlink()
    (tmp_path / "link").symlink_to(path)
    refuse_directories([f"resume={tmp_path / 'link'}"])


def test_compare_writes_through_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "sweep" / "run", status={"status": "finished"})
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "sweep" / "comparison").mkdir()
    (tmp_path / "sweep" / "comparison" / "runs.csv").symlink_to(mine)
    with pytest.raises(SystemExit):
        compare([str(tmp_path / "sweep"), "--no-page"])
    assert "runs.csv in it is a symbolic link" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_what_commands_a_terminal_is_written_out() -> None:
    # Clear the screen; set the title; put text on the clipboard; C1's CSI; turn letters round.
    texts = ["\x1b[2J", "\x1b]0;title\x07", "\x1b]52;c;ZWNobw==\x1b\\", "\x9b31m", "\u202eexe.txt"]
    for text in texts:
        assert printable(text).isprintable()
    assert printable("\x1b[2J") == r"\x1b[2J"
    assert printable("\u202eab") == r"\u202eab"
    assert printable("a\nb\rc\t", keep="\n\t") == "a\nb\\rc\t"
    # Words of people stay as they are: wide spaces, joined letters and emoji.
    for text in ("naïve", "數\u3000學", "می\u200cخواهم", "👩\u200d🔬", "1\u00a0000"):
        assert printable(text) == text
    assert printable("\ud800").encode() == rb"\ud800"


@given(st.text())
def test_no_text_keeps_a_control_character(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )
    shown.encode()


ATTACK = "\x1b]0;gone\x07\x1b[2J\x9b31m\u202etxt\r"


def commands(text: str) -> set[str]:
    """The characters in what was printed that a terminal obeys, or that turn a line round."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}


def test_what_a_model_says_does_not_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Model:
        name = "trained"
        turns: ClassVar[list[object]] = []

        def answer(self, line: str, number: int, options: object) -> str:
            if number:
                raise ConfigError(ATTACK)
            return f"first\nsecond{ATTACK}"

    talk([Model()], ["a", "b"], Namespace())  # type: ignore[list-item]
    printed = capsys.readouterr().out
    assert "first\nsecond\\x1b]0;gone\\x07" in printed
    assert not commands(printed)


def test_what_files_and_scorers_say_does_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"status": "failed", "error": f"reward: {ATTACK}"}
    for name in ("one", f"two{ATTACK}"):
        write_run(
            tmp_path / "sweep" / name,
            status={"status": "finished"},
            settings={"note": ATTACK},
        )
    write_run(tmp_path / "sweep" / "three", taken=2, status=facts, overrides=[ATTACK])
    compare([str(tmp_path / "sweep"), "--no-page"])
    with pytest.raises(SystemExit), ending():
        raise ConfigError(ATTACK)
    with pytest.raises(SystemExit):
        stop(ValueError(ATTACK))
    console = Console(force_terminal=False, width=200)
    point = Point(
        number=0, overrides=["a"], varied={"a": ATTACK}, directory="three", fingerprint=""
    )
    console.print(status_table(tmp_path / "sweep", [point], "val/x", {}))

    class Broken(Reward):
        def score(self, problem: Problem, response: str) -> float:
            return f"{ATTACK}"  # type: ignore[return-value]

    Broken().grade([Problem(ATTACK, "", 0)], [ATTACK], [1])
    printed = capsys.readouterr()
    assert not commands(printed.out + printed.err)
