"""How to install what is optional: the packages of an extra, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "chord-posttraining"


def requirements() -> list[str]:
    """What the installed distribution asks for; nothing where chord is used without installing."""
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return []


def install(extra: str) -> str:
    """The command that installs what an extra of this package brings.

    It names the packages, so it works in every environment: also without a clone, and where no
    index has this package. `install("math")` is `pip install 'math-verify>=0.8'`.
    """
    found = sorted({*_packages(extra, requirements())})
    return f"pip install {' '.join(found)}" if found else f"pip install -e '.[{extra}]'"


def _packages(extra: str, required: Sequence[str]) -> Iterator[str]:
    # Metadata is read only for an error message, and this takes a moment to load.
    from packaging.requirements import Requirement

    for requirement in map(Requirement, required):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.marker.evaluate({"extra": extra}):
            continue
        if re.sub(r"[-_.]+", "-", requirement.name).lower() == DISTRIBUTION:
            for other in requirement.extras:
                yield from _packages(other, required)
        else:
            bounds = ",".join(sorted(map(str, requirement.specifier), reverse=True))
            yield f"'{requirement.name}{bounds}'"
