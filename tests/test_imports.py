"""Imports point downwards: `lint-imports` holds the floors, and no import goes in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chord

PACKAGE = Path(chord.__file__).parent


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """What a file imports: at the top, inside functions, for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def graph(package: Path) -> dict[str, set[str]]:
    """Which modules each imports; a name that is none is its module's."""
    known = modules(package)
    edges: dict[str, set[str]] = {}
    for module, path in known.items():
        edges[module] = set()
        for name in imported(path):
            target = name if name in known else name.rpartition(".")[0]
            if target in known:
                edges[module].add(target)
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """What is left when modules that import nothing that is left are taken away again and again."""
    left = {module: set(targets) for module, targets in edges.items()}
    while free := {module for module, targets in left.items() if not targets & left.keys()}:
        left = {module: targets for module, targets in left.items() if module not in free}
    return [[module, *sorted(targets & left.keys())] for module, targets in left.items()]


def test_no_import_of_any_kind_goes_in_a_circle() -> None:
    assert circles(graph(PACKAGE)) == []


@pytest.mark.parametrize(
    "importing",
    [
        "from p.a import A",
        "def f():\n    import p.a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import a",
    ],
    ids=["at the top", "in a function", "for a type"],
)
def test_a_circle_is_found(tmp_path: Path, importing: str) -> None:
    package = tmp_path / "p"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("from p.b import B\nA = B\n")
    (package / "b.py").write_text(f"B = 1\n{importing}\n")
    assert sorted(circles(graph(package))) == [["p.a", "p.b"], ["p.b", "p.a"]]


def test_a_file_says_why_it_imports_in_functions() -> None:
    """At the first of them, or in its docstring; settings have one reason for all."""
    for module, path in modules(PACKAGE).items():
        if module.startswith("chord.config."):
            continue
        text = path.read_text()
        tree, lines = ast.parse(text), text.splitlines()
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inside = [node for function in functions for node in ast.walk(function)]
        numbers = [n.lineno for n in inside if isinstance(n, ast.Import | ast.ImportFrom)]
        if numbers and "import" not in (ast.get_docstring(tree) or ""):
            assert lines[min(numbers) - 2].strip().startswith("#"), f"{path}:{min(numbers)}"


def test_the_package_can_be_taken_in_at_a_glance() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries) <= 35


def test_one_class_name_has_one_meaning() -> None:
    found: dict[str, list[str]] = {}
    for module, path in modules(PACKAGE).items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
