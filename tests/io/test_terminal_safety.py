"""Whoever wrote a text that a command prints, the terminal does not obey it."""

from __future__ import annotations

import ast
import math
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace as Facts
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig

import chord
from chord.command_line.help import help_text
from chord.config.composing import reading_conf
from chord.config.search import SearchConfig
from chord.doctor.command import show
from chord.doctor.finding import WRONG, Finding
from chord.io.printing import say
from chord.sweep.space import Range, may_choose
from chord.sweep.study import Study

pytestmark = pytest.mark.faults
ATTACK = "\x1b]0;gone\x07\x1b[2J\x9b31m\u202etxt\r"


def obeyed(text: str) -> set[str]:
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}


def is_bare_print(node: ast.AST) -> bool:
    """Whether a call is of `print`, or of a stream's `write`, with more than words of its own."""
    if not isinstance(node, ast.Call) or all(isinstance(a, ast.Constant) for a in node.args):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id == "print"
    return ast.unparse(node.func) in ("sys.stdout.write", "sys.stderr.write")


def test_only_one_function_prints() -> None:
    root = Path(chord.__file__).parent
    found = [
        f"{file.relative_to(root)}:{node.lineno}"
        for file in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_bare_print(node)
    ]
    assert len(found) == 1
    assert found[0].startswith("io/printing.py:")


def test_what_is_printed_commands_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say("one\ttwo", 3, ATTACK, sep="\n", end="", file=sys.stderr)
    say("a", 1)
    show({ATTACK: [Finding(WRONG, ATTACK, ATTACK)]})
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "x.yaml").write_text(f"# hello {ATTACK}", encoding="utf-8")
    say(help_text("train", [tmp_path]))
    printed = capsys.readouterr()
    assert "one\ttwo\n3\n\\x1b]0;gone" in printed.err
    assert printed.out.startswith("a 1\n")
    assert "hello \\x1b" in printed.out
    assert not obeyed(printed.out + printed.err)


def composed(words: list[str]) -> DictConfig:
    with reading_conf():
        return hydra.compose("train", words, return_hydra_config=True)


def study(*trials: Any, direction: str = "maximize") -> Study:
    """A study that somebody has made, of a search over one number."""
    found = object.__new__(Study)
    found.study = Facts(trials=list(trials))
    found.settings = SearchConfig(direction=direction)
    found.fixed = ["steps=2"]
    found.jobs = Facts(directory=Path("s"), flags=[], composed=composed)  # type: ignore[assignment]
    space = {"schedule.peak": Range(0.0, 1.0, whole=False, log=False)}
    found.may = lambda name, value: may_choose(name, value, space, {})
    return found


def trial(value: float, varied: object, job: object = 0, sweep: str = "s") -> Any:
    attributes = {"varied": varied, "job": job, "sweep": sweep}
    return Facts(number=7, value=value, user_attrs=attributes)


def test_the_best_trial_is_one_that_the_search_could_have_made() -> None:
    own = [trial(0.5, {"schedule.peak": "0.25"}), trial(0.1, {"schedule.peak": "0.75"})]
    strange = [
        trial(value, varied, sweep="another")
        for value in (9.0, -9.0)
        for varied in ({"trust": "true"}, {"schedule.peak": ATTACK}, {"schedule.peak": 1}, None, [])
    ]
    for direction, peak in (("maximize", "0.25"), ("minimize", "0.75")):
        found = study(*strange, *own, direction=direction)
        found.refuse_others()
        (line,) = found.best()
        assert line.startswith("best of 2: ")
        assert line.endswith(f"python -m chord.train steps=2 schedule.peak={peak}")


@pytest.mark.parametrize(
    ("varied", "job"),
    [({"trust": "true"}, 0), (None, 0), ([], 0), ({"schedule.peak": 1}, 0)]
    + [({"schedule.peak": "0.5"}, job) for job in ("../x", -1, None, math.inf, True)],
)
def test_a_trial_that_no_search_has_made_is_refused(varied: object, job: object) -> None:
    with pytest.raises(ValueError, match=r"^hydra\.sweeper\.study=chord: trial 7 "):
        study(trial(0.5, varied, job)).refuse_others()
