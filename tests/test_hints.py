"""What the program says to type can be typed: every command and setting in its messages exists.

The messages are the literal texts of the package's source. What they fill in themselves is not
checked here, nor is anything in capitals, which stands for what a user has to put there.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from conftest import compose_config
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pages import ROOT, TEXTS, blocks, text
from rows.needs import with_needs
from scripts import project, scripts
from typed import ROOTS, check_command, parser

from chord.config.location import CONF_DIR
from chord.config.messages import EXTRAS, one_line
from chord.config.parse import parse
from chord.config.registry import SCHEMAS, SECOND
from chord.config.root import EvaluateConfig, TrainConfig
from chord.errors import ConfigError

PACKAGE = ROOT / "chord"
HOLE = "\0"
"""What a message fills in itself."""
ASSIGNED = re.compile(r"(?<![\w.=/\"'(+@?&-])([a-z_]\w*(?:[./@][a-z_]\w*)*)=(?!=)([^\s;,)`]*)")
COMMAND = re.compile(r"python -m chord\.([a-z_]+)([^`;]*)")
SHOWN = re.compile(r"^(?: *|.*`)(python -m chord\.(?:[^`\n\\]|\\\n)+)(?:`|$)", re.M)
"""A command on a line of its own or in backticks: it ends there."""
EXTRA = re.compile(r"install [^`\n]*'\.\[(.+?)\]'")
FLAG = re.compile(r"(?<!\S)--?[a-z][a-z-]*")
NO_SETTINGS = {
    "alphabet": "an argument of a tokenizer",
    "defaults": "the list in a file of options",
    "function": "the end of reward.function",
    "greedy": "an argument of a function",
    "hydra": "the beginning of a setting of Hydra's",
    "p": "a probability",
    "rope_base": "a number in the file of a model",
    "s": "part of a pattern",
    "top_k": "an argument of a function",
    "torch": "a version",
    "width": "a number in the file of a model",
    "x": "any setting",
}

REFUSED = {
    ("trainer.precision", "16-mixed"),
    ("trainer.precision", "bf16-true"),
    ("trainer.strategy", "deepspeed"),
}
"""What has a message only because it is refused, with a reason of its own."""
EXAMPLES = {("schedule.initial", "1.3")}
"""What a page shows as refused."""


def texts(source: str, *, docstrings: bool = False) -> Iterator[str]:
    """The literal texts of a module, without its docstrings and what its assertions say."""
    tree, left_out = ast.parse(source), set[ast.AST]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            left_out |= {*ast.walk(node)}
        elif isinstance(node, ast.JoinedStr):
            left_out |= {part for part in node.values if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not docstrings:
            left_out.add(node.value)
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values
            )


@functools.cache
def messages(*, docstrings: bool = False) -> list[str]:
    """All literal texts of the package."""
    return [
        said
        for path in sorted(PACKAGE.rglob("*.py"))
        for said in texts(path.read_text(encoding="utf-8"), docstrings=docstrings)
    ]


def assigned(said: Iterable[str]) -> set[tuple[str, str]]:
    """Each `NAME=VALUE`; "" for a value that is left to the user or filled in."""
    found = set()
    for one in said:
        for name, value in ASSIGNED.findall(one):
            value = value.rstrip(":.'?\"")
            known = value if re.fullmatch(r"[a-z0-9_.+-]+", value) else ""
            found.add((name, known))
    return found


def names_of(kind: type, prefix: str = "") -> Iterator[str]:
    """The settings of a dataclass, those within others included."""
    hints = get_type_hints(kind)
    for each in fields(kind):
        yield f"{prefix}{each.name}"
        for inner in (hints[each.name], *get_args(hints[each.name])):
            if isinstance(inner, type) and is_dataclass(inner):
                yield from names_of(inner, f"{prefix}{each.name}.")


@functools.cache
def of_group() -> dict[str, list[str]]:
    """Each setting within a group, with the options that have it."""
    found: dict[str, list[str]] = {}
    for group, schemas in SCHEMAS.items():
        for option, kind in schemas.items():
            for name in names_of(kind):
                found.setdefault(f"{group}.{name}", []).append(option)
    return found


def options(group: str) -> set[str]:
    """The options of a group, none if there is no such group."""
    group = group.partition("@")[0]
    if group == "hydra/launcher":
        return {"basic", *EXTRAS}
    return {path.stem for path in (CONF_DIR / group).glob("*.yaml")}


def wrong(name: str, value: str) -> str | None:
    """Why a setting can't be typed with a value; None if it can."""
    if name.startswith(("hydra.", "trainer.extra.")) or name in NO_SETTINGS:
        return None
    if known := options(name):
        second = name.partition("@")[2]
        if second and SECOND.get(second) != name.partition("@")[0]:
            return f"{name}: no such second option"
        value = "" if second and value == "null" else value
        return None if value in {"", *known} else f"{name}={value}: no such option"
    if name in of_group():
        return _refused(name, value) if value else None
    for root, config in ((TrainConfig, "train"), (EvaluateConfig, "evaluate")):
        if name in names_of(root):
            return _refused(name, value, config, root) if value else None
    return f"{name}: no such setting"


def _refused(
    name: str, value: str, config: str = "train", root: type[Any] = TrainConfig
) -> str | None:
    """Why a value is none of a setting's, with any of the options that have the setting."""
    group, line = name.partition(".")[0], ""
    for option in of_group().get(name, [""]):
        chosen = with_needs(f"{group}={option}").split() if option in options(group) else []
        try:
            parse(compose_config(*chosen, f"{name}={value}", name=config), root)
        except (ConfigError, HydraException, OmegaConfBaseException) as error:
            line = one_line(error)
            # What it does not go together with is another matter.
            if not line.startswith(name) or not re.search("must be|no such", line):
                return None
        else:
            return None
    return line


def test_every_setting_in_a_message_exists_and_has_such_a_value() -> None:
    found = assigned(messages())
    assert len(found) > 200  # they are found
    assert all(wrong(*each) for each in REFUSED)
    assert [line for each in sorted(found - REFUSED) if (line := wrong(*each))] == []
    named = {name for name, _ in found}
    assert NO_SETTINGS.keys() <= named, "left out for nothing"


@pytest.mark.parametrize(
    "said",
    [
        "use rollout=nativ",
        "use objective.kl.coeff=.01",
        "raise max_new_tokens={n}",
        "give hydra/launcher=slurm",
        "use weighting@off_polcy=luffy",
        "use optimizer@off_policy=adamw",
        "data.overlong=stop trains anyway",
        "model.compile=maybe",
        "evaluation.test=1.5",
        "set resume_swep=DIRECTORY",
        "split=validation",
    ],
)
def test_a_wrong_setting_in_a_message_is_found(said: str) -> None:
    ((name, value),) = assigned([*texts(f"f'a: {said}'")])
    assert wrong(name, value) is not None


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_setting_on_a_page_exists_and_has_such_a_value(path: Path) -> None:
    page = re.sub(r"^```.*?^```$", "", text(path), flags=re.M | re.S)
    # These show what is refused.
    page = re.sub(r"^\| typed \|.*?(?=^$)", "", page, flags=re.M | re.S)
    if path.name == "refusals.md":
        page = re.sub(r"^\| .*?\| .*?(?=\|)", "", page, flags=re.M)
    found = assigned(re.findall(r"`([^`\n]+)`", page)) - EXAMPLES
    # Short forms, as `where=loss` beside `objective.kl`, are left out.
    known = [each for each in sorted(found) if "." in each[0] or options(each[0])]
    assert [line for each in known if (line := wrong(*each))] == []


def test_every_command_in_a_message_or_a_docstring_has_a_script_and_these_flags() -> None:
    found = [match for said in messages(docstrings=True) for match in COMMAND.finditer(said)]
    assert len(found) > 40
    assert [line for match in found for line in unknown(*match.groups())] == []


def unknown(name: str, arguments: str) -> Iterator[str]:
    """What is wrong with the command `chord.NAME`: there is none, or it has no such flag."""
    if not name.strip("_"):
        return  # "chord._"
    if f"chord-{name.replace('_', '-')}" not in scripts():
        yield f"chord.{name}: no such command"
        return
    # Up to the end of the sentence or the line.
    flags = {"-m", "--help", "--cfg", "--resolve", "--config-dir"}
    if name not in {*ROOTS, "pretrain"}:
        flags = {*parser(name)._option_string_actions}
    for flag in FLAG.findall(re.split(r"[.:,)]\s|\n", arguments)[0]):
        if flag not in flags:
            yield f"chord.{name}: no such flag {flag}"


def whole() -> list[str]:
    """The commands of docstrings and messages that are shown from their first to their last word
    and are complete."""
    found = {
        re.sub(r"\\\n *", " ", match)
        for said in messages(docstrings=True)
        for match in SHOWN.findall(said)
        if HOLE not in match and "[" not in match and " " in match.removeprefix("python -m ")
    }
    return sorted(found)


@pytest.mark.parametrize("command", whole())
def test_every_command_in_a_docstring_can_be_typed(command: str, tmp_path: Path) -> None:
    check_command(command, tmp_path)


def test_what_is_to_be_installed_can_be() -> None:
    said = [*messages(docstrings=True), *map(text, TEXTS)]
    extras = {extra for one in said for found in EXTRA.findall(one) for extra in found.split(",")}
    assert {"hf", "math", "reasoning"} <= extras  # they are found
    assert extras <= project()["optional-dependencies"].keys() | {HOLE}
    # No index has the package, so that it is installed from a clone, and only its own packages are.
    assert not [one for one in said if re.search(r"install [^`\n]*chord[-_]posttraining", one)]


def test_every_command_of_wandb_exists() -> None:
    from wandb.cli.cli import cli

    said = [*messages(), *("".join(blocks(path, "bash")) for path in TEXTS)]
    named = {name for one in said for name in re.findall(r"\bwandb ((?:sync|log\w+|le\w+))\b", one)}
    assert {"login", "sync", "leet"} <= named <= cli.commands.keys()
