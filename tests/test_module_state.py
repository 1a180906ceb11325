"""State of modules: what a function changes outlives the call, so each such name has a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "chord"
ALLOWED = {
    "config/loading.py _finders",
    "config/plugins.py _plugins",
    "config/plugins.py _loading",
    "config/plugins.py SCHEMAS",
    "distributed/collectives.py _alone",
    "run/lock.py _claimed",
    "run/lock.py open_handles",
}
CHANGING = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"),
    *("remove", "reverse", "setdefault", "sort", "update"),
}


def changed(text: str) -> Iterator[str]:
    """The names of a module that one of its functions changes or assigns to.

    Those that it has imported from the package are among them.
    """
    tree = ast.parse(text)
    known = {name for statement in tree.body for name in _bound(statement)}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        own = {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}
        own |= {
            each.id
            for each in ast.walk(function)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield from node.names
            for part in _changed_in(node):
                while isinstance(part, ast.Subscript):
                    part = part.value
                if isinstance(part, ast.Name) and part.id in known - own:
                    yield part.id


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("chord"):
        yield from (each.asname or each.name for each in statement.names)
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (each.id for each in targets if isinstance(each, ast.Name))


def _changed_in(node: ast.AST) -> Iterator[ast.expr]:
    """What a node changes in place."""
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield node.value
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and called.attr in CHANGING:
        yield called.value


def test_every_state_of_a_module_has_a_reason() -> None:
    found = {
        f"{path.relative_to(PACKAGE)} {name}"
        for path in PACKAGE.rglob("*.py")
        for name in changed(path.read_text())
    }
    assert found == ALLOWED
    # The reason stands above the name, where it is bound.
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    for name in {each.split()[1] for each in found}:
        assert re.search(rf"^# State: .+\n(# .+\n)*{name}(:.*)? = ", sources, re.M), name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = []\ndef f():\n    x.append(1)", ["x"]),
        ("x: dict = {}\ndef f():\n    x[1][2] = 3", ["x"]),
        ("x = {}\ndef f():\n    del x[1]", ["x"]),
        ("x = 1\ndef f():\n    global x\n    x = 2", ["x"]),
        ("from chord.a import x\ndef f():\n    x.update(a=1)", ["x"]),
        ("x = []\ndef f(x):\n    x.append(1)", []),
        ("x = []\ndef f():\n    x = []\n    x.append(1)", []),
        ("x = []\nx.append(1)", []),
    ],
)
def test_what_a_function_changes_is_found(text: str, names: list[str]) -> None:
    assert list(changed(text)) == names
