"""The package's public names: all there, loaded on first use, and without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chord


def test_every_public_name_can_be_imported():
    for name in chord.__all__:
        assert getattr(chord, name).__name__ == name
    assert set(chord.__all__) <= set(dir(chord))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(chord.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {alias.name for node in block.body for alias in node.names}
    assert names == set(chord.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'chord' has no attribute 'Linaer'"):
        _ = chord.Linaer


def test_importing_every_name_does_not_import_torch():
    code = "import sys; from chord import *; assert Linear; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
