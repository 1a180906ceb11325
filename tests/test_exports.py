"""The package's public names: all there, loaded on first use, and without torch."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chord

HOMES = ("chord.schedules", "chord.weightings", "chord.losses")


def test_every_public_name_is_that_of_its_folder():
    for home in HOMES:
        module = importlib.import_module(home)
        assert set(module.__all__) <= set(chord.__all__)
        assert all(getattr(chord, name) is getattr(module, name) for name in module.__all__)
    assert set(chord.__all__) <= set(dir(chord))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(chord.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen: dict[str, set[str]] = {}
    for node in block.body:
        seen.setdefault(node.module, set()).update(alias.name for alias in node.names)
    assert {home for home, names in seen.items() if names == {"*"}} == set(HOMES)
    listed = {name for home in HOMES for name in importlib.import_module(home).__all__}
    others = [names for home, names in seen.items() if home not in HOMES]
    assert set(chord.__all__) == listed.union(*others)


def test_sections_of_arguments_have_one_to_a_line():
    # What the site's builder reads; it fails where a line begins with anything else.
    found = 0
    for path in Path(chord.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            for block in re.findall(r"^Args:\n((?:    .+\n?)+)", text or "", re.M):
                lines = [line[4:] for line in block.splitlines() if line[4] != " "]
                assert all(re.match(r"\w+: ", line) for line in lines), f"{path} {node.name}"
                found += len(lines)
    assert found > 10


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'chord' has no attribute 'Linaer'"):
        _ = chord.Linaer


def test_importing_every_name_does_not_import_torch():
    code = "import sys; from chord import *; assert Linear; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
