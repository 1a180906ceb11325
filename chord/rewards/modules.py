"""A module and the modules of the user's own that it imports, found without importing any.

The import statements are read off the source, wherever in it they stand. Left out are the standard
library, chord, and what is installed in `site-packages`, unless the module itself is: of its own
package all that it imports counts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import pkgutil
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from chord.io.contents import Content
from chord.io.hashes import file_hash

_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARY = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_EVERY = "*"


def search_path(before: str | None = None) -> list[str]:
    """Where modules of the user's are looked for; also where the command is a script, whose path
    the current directory is not on.

    `before`: a directory in which they are looked for before the current one.
    """
    here, found = os.getcwd(), []
    for path in [*sys.path, ""]:
        if before is not None and path in ("", here):
            found.append(before)
        found.append(path or here)
    return found


def module_file(module: str, before: str | None = None) -> str | None:
    """The file of a module, which is not imported, nor are the packages around it."""
    found = _spec(module, search_path(before))
    return found.origin if found is not None and found.has_location else None


def module_content(module: str, before: str | None = None) -> Content | None:
    """The hash of a module and of what it imports, in the form of `chord.io.contents`.

    None where it isn't there. Of several modules the hash is made of their names and hashes, which
    are under `modules`.
    """
    try:
        files = local_modules(module, before)
        hashes = {name: file_hash(file) for name, file in sorted(files.items())}
        size = sum(file.stat().st_size for file in files.values())
    except OSError:
        return None
    if module not in files:
        return None
    content: Content = {"path": str(files[module]), "sha256": hashes[module], "bytes": size}
    if len(files) > 1:
        lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
        content["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        content["modules"] = hashes
    return content


def local_modules(module: str, before: str | None = None) -> dict[str, Path]:
    """The files of a module and of the local modules that it imports, and those, by name.

    With `a.b` goes `a`, which is run first. A file with an error in its syntax is among them; what
    it would import is not known.
    """
    importlib.invalidate_caches()
    places = search_path(before)
    own, found, seen, waiting = _top(module), {}, set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        package, _, last = name.rpartition(".")
        if package:
            waiting.append(package)
        if last == _EVERY:
            waiting += [f"{package}.{each}" for each in _within(package, own, places)]
            continue
        spec = _spec(name, places)
        if spec is None or not (_top(name) == own or _is_local(_top(name), places)):
            continue
        if spec.origin is not None and spec.has_location:
            found[name] = Path(spec.origin)
            if found[name].suffix == ".py":
                around = name if spec.submodule_search_locations is not None else package
                waiting += _imports(found[name], around)
    return found


def _top(module: str) -> str:
    return module.partition(".")[0]


def _spec(module: str, places: list[str]) -> ModuleSpec | None:
    """How a module would be loaded."""
    found = None
    for name in module.split("."):
        # By its last name: with the whole one a namespace would ask for its parent, which is not
        # imported.
        found = PathFinder.find_spec(name, places)
        if found is None:
            return None
        places = list(found.submodule_search_locations or [])
    return found


def _within(package: str, own: str, places: list[str]) -> list[str]:
    """The modules of a local package."""
    spec = _spec(package, places)
    if spec is None or not (_top(package) == own or _is_local(_top(package), places)):
        return []
    return [each.name for each in pkgutil.iter_modules(spec.submodule_search_locations or [])]


def _is_local(top: str, places: list[str]) -> bool:
    """Whether a module is the user's own: neither Python's, nor chord's, nor installed."""
    spec = _spec(top, places)
    if spec is None or top == "chord" or top in sys.builtin_module_names:
        return False
    files = [
        Path(place) for place in [spec.origin, *(spec.submodule_search_locations or [])] if place
    ]
    return not any(
        _INSTALLED & set(place.parts) or any(place.is_relative_to(each) for each in _LIBRARY)
        for place in files
    )


def _imports(file: Path, package: str) -> Iterator[str]:
    """What a module of `package` imports, by whole names; of `from a import b` also `a.b`."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=name, names=names, level=level):
                base = _absolute("." * level + (name or ""), package)
                yield base
                yield from (f"{base}.{each.name}" for each in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield _absolute(name, package)


def _absolute(name: str, package: str) -> str:
    """`..a` in the package `p.q` is `p.a`."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return name
    around = package.split(".")
    return ".".join([*around[: len(around) - level + 1], *([bare] if bare else [])])
