"""Directories of every name: read from the command line as Hydra reads them, and so hinted at."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from strategies import quick
from sweeps import Command, command, interrupt_at

from chord.command_line.followers import follow
from chord.command_line.help import config_dirs
from chord.config.overrides import given, setting, typed
from chord.sweep.directory import in_its_directory
from chord.train import refuse_directories

__all__ = ["command"]

pytestmark = pytest.mark.faults

# Whatever a file system takes, but for a backslash before ${, which omegaconf can't express.
NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("='\" \\,[]{}()$:#~%&"),
    min_size=1,
    max_size=30,
).filter(lambda name: "\\${" not in name and "/" not in name)


@quick
@for_all(name=NAMES)
def test_a_hint_leads_to_the_directory_it_names(name: str) -> None:
    (word,) = shlex.split(typed("resume", Path("outputs") / name))
    assert given([word]) == {"resume": str(Path("outputs") / name)}


@pytest.mark.parametrize("name", ["007", "1_000", "null", "true", "nan", "a,b", "a${b}", "x=1", ""])
def test_what_looks_like_another_value_is_the_text_it_is(name: str) -> None:
    assert given([setting("resume", name)]) == {"resume": name}


def test_arguments_are_read_as_hydra_reads_them() -> None:
    words = ["-m", "resume='a b'", "+seed=1", "schedule=linear,cosine", "--config-dir=x", "weird=["]
    assert given(words) == {"resume": "a b", "seed": "1"}
    assert given(["resume=null"]) == {"resume": "null"}
    assert config_dirs(["-cd", "a b", "steps=2", "--config-dir=x=y"]) == [Path("a b"), Path("x=y")]


def test_a_process_of_lightnings_gets_the_run_directory_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As Lightning has it: quotes around whatever the name is.
    theirs = ['hydra.run.dir="a"b\\c"', "hydra.job.name=train_ddp_process_1"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)
        arguments = follow(["steps=2", *theirs])
        sys.stdout.close()
    assert given(arguments)["hydra.run.dir"] == 'a"b\\c'


ODD = "lr=1 [a,b] ü試 'q'"


def test_a_sweep_in_a_directory_of_any_name_goes_on(tmp_path: Path) -> None:
    sweep = tmp_path / ODD
    sweep.mkdir()
    (sweep / "sweep.json").write_text("{}")
    arguments = in_its_directory(["-m", setting("resume_sweep", sweep)])
    assert given(arguments)["hydra.sweep.dir"] == str(sweep)


def test_a_run_in_a_directory_of_any_name_is_refused_a_second_time(tmp_path: Path) -> None:
    run = tmp_path / ODD
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="already holds a run; 'resume=") as caught:
        refuse_directories([setting("hydra.run.dir", run)])
    (hint,) = shlex.split(str(caught.value).partition("run; ")[2].partition(" continues")[0])
    refuse_directories([hint])


def test_a_tilde_that_no_shell_expands_is_no_directory() -> None:
    with pytest.raises(ValueError, match=r"a directory called ~; use hydra\.run\.dir=\$HOME/x"):
        refuse_directories(["hydra.run.dir='~/x'"])


def test_a_run_in_a_directory_of_any_name_is_hinted_at_and_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert command(setting("hydra.run.dir", ODD)) == 130
    hint = command.err.split("checkpoint: ")[1].splitlines()[0]
    python, m, module, *words = shlex.split(hint)
    assert (python, m, module) == ("python", "-m", "chord.train")
    assert command(*words, own=False) == 0, command.err
    assert command.status(ODD)["status"] == "finished"
    # Nothing was made beside it.
    assert [path.name for path in command.where.iterdir()] == [ODD]
