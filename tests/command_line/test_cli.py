"""The commands as a user types them. Each cold process is dear: there are few of them here."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import LIGHT, run
from conftest import compose_config
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from chord.command_line.help import help_text
from chord.config.composing import composed
from chord.config.location import CONF_DIR
from chord.config.messages import first_comment, one_line
from chord.config.parse import parse
from chord.config.registry import SCHEMAS, SECOND
from chord.config.root import TrainConfig
from chord.errors import ConfigError


def test_help_lists_every_group_and_option_with_its_own_words() -> None:
    text = help_text("train")
    for group in (*SCHEMAS, "experiment"):
        assert f"\n{group}=\n" in text
        for path in (CONF_DIR / group).glob("*.yaml"):
            assert f" {path.stem} " in text
            assert first_comment(path), f"{path} says nothing about itself"
            assert first_comment(path) in text


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_keeps_its_columns_in_a_terminal(command: str) -> None:
    lines = help_text(command, width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    # Whatever is said of an option is said in its column.
    beside = [line for line in lines if line.startswith(" " * 21)]
    assert {len(line) - len(line.lstrip()) for line in beside} <= {21, 25, 33}
    words = " ".join(" ".join(lines).split())
    for line in help_text(command).splitlines():
        assert " ".join(line.split()) in words


def test_help_marks_the_defaults() -> None:
    marked = [line.split()[1] for line in help_text("train").splitlines() if line[:2] == "* "]
    # One for each group but experiment, and the line that explains the mark.
    assert len(marked) == len(SCHEMAS) + 1


def test_help_never_imports_torch(tmp_path: Path) -> None:
    done = run("-c", LIGHT, "chord.train", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\nimported:\n")


def test_a_typo_ends_in_one_line_before_torch_is_imported(tmp_path: Path) -> None:
    done = run("-c", LIGHT, "chord.train", "schedule=cosine", "schedule.inital=1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "imported:\n")
    assert done.stderr.count("\n") == 1
    expected = "error: schedule.inital=1: no such setting; did you mean 'initial'?"
    assert done.stderr.startswith(expected)
    assert not list(tmp_path.iterdir()), "a typo leaves nothing behind"


def test_a_range_error_is_one_line_too(tmp_path: Path) -> None:
    done = run("-m", "chord.train", "schedule.peak=2", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: schedule.peak=2.0: must be within [0, 1]\n"
    assert "Traceback" not in done.stdout


def test_the_traceback_is_shown_to_whoever_asks_for_it(tmp_path: Path) -> None:
    done = run("-m", "chord.train", "schedule.peak=2", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nerror: schedule.peak=2.0: must be within [0, 1]\n")


def test_help_names_the_second_options_of_a_group() -> None:
    text = help_text("train")
    for setting, group in SECOND.items():
        assert f"\n  {group}@{setting}=" in text


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["off_policy=phi"], "off_policy=phi: an option is chosen as weighting@off_policy=OPTION"),
        (["weighting@offpolicy=phi"], "no such group; did you mean 'weighting@off_policy'?"),
        (["off_policy.gamma=-1"], "off_policy.gamma=-1.0: must be a number above 0"),
        (["weighting=luffy", "weighting.gamma=-1"], "weighting.gamma=-1.0: must be"),
        (
            ["optimizer@sft_optimizer=adamw", "sft_optimizer.lr=-1"],
            "sft_optimizer.lr=-1.0: must be above 0 and finite",
        ),
    ],
)
def test_a_mistake_in_a_second_option_names_it(overrides: list[str], line: str) -> None:
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        parse(compose_config(*overrides), TrainConfig)
    assert line in one_line(caught.value)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["steps=???"], "steps: has no value; give it as steps=VALUE"),
        (
            ["schedule=???"],
            "schedule: has no option; give schedule=OPTION (allowed: chord_mu, chord",
        ),
        (["schedule=[a]"], "schedule/a: no such config; train names it"),
        (["schedule=[linear]"], "schedule: must be one option, not a list"),
        (["schedule=linear", "schedule.final=abc"], "schedule.final=abc: must be a number"),
        (["steps=1.5"], "steps=1.5: must be a whole number"),
        (["experiment=reference"], "${nothing}: a defaults list refers to it, and it is no group"),
        (["experiment=missing"], "experiment/nix: no such config; experiment/missing names it"),
        (["experiment=listed"], "schedule: must be one option, not a list"),
    ],
)
def test_what_hydra_would_word_itself_is_said_in_one_line(
    typed: list[str], line: str, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    for name, default in (
        ("reference", "override /schedule: ${nothing}"),
        ("missing", "nix"),
        ("listed", "override /schedule: [linear]"),
    ):
        text = f"# @package _global_\ndefaults:\n  - {default}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        composed(typed, tmp_path)
    assert one_line(caught.value).startswith(line)
