"""Reading the README and the site: their code blocks, tables and commands."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob

from chord.config.location import CONF_DIR

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOK = ROOT / "docs" / "first-study.ipynb"
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", NOTEBOOK, *PAGES]


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module


def text(path: Path) -> str:
    """A page as it is written; a notebook as the page that the site makes of it."""
    return hooks().notebook(path) if path.suffix == ".ipynb" else path.read_text()


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(path), re.M | re.S)


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table whose header line begins with `heading`, the header included."""
    lines = (ROOT / page).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(heading))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return [cells[0], *cells[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def commands() -> list[tuple[str, str]]:
    """Each command of each bash block, with the name of its page."""
    found = []
    for path in TEXTS:
        for line in "".join(blocks(path, "bash")).replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                found.append((path.name, shlex.join(shlex.split(part, comments=True))))
    return [(name, command) for name, command in found if command]


def jobs(words: list[str]) -> list[list[str]]:
    """The overrides of every job of a command, a multirun taken apart as Hydra does it."""
    if "-m" not in words:
        return [words]
    choices: list[list[str]] = []
    for override in OverridesParser.create().parse_overrides([w for w in words if w != "-m"]):
        key = override.get_key_element()
        if isinstance(override.value(), Glob):
            options = [path.stem for path in sorted((CONF_DIR / key).glob("*.yaml"))]
            choices.append([f"{key}={option}" for option in options])
        elif override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line or ""])
    return [list(combination) for combination in itertools.product(*choices)]


def documented(file: str) -> list[str]:
    """The keys in the table of a section of docs/run-directory.md."""
    text = (ROOT / "docs" / "run-directory.md").read_text()
    section = text.split(f"\n## {file}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.M)


def matches(documented_key: str, key: str) -> bool:
    pattern = re.escape(documented_key)
    pattern = pattern.replace("SPLIT", "(val|test)").replace("SKILL", r"(?!mean|min)\w+")
    pattern = pattern.replace("LOW_HIGH", r"\d\.\d\d_\d\.\d\d")
    return re.fullmatch(pattern, key) is not None
