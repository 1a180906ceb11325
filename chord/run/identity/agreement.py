"""Whether the files of a run directory agree about which run it is.

`run.json` has the configuration, `config.yaml` the same resolved, and `status.json` a fingerprint
of it. An edit of one of them, or of the same setting in several, makes them contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from chord.io.reading import read_yaml
from chord.run.files import FORMAT, STATUS, read_status
from chord.run.identity.frozen import freeze
from chord.run.identity.record import MISFITS
from chord.run.identity.settings import fingerprint_of, resumable, tells

COMPOSED = Path(".hydra") / "config.yaml"
"""What Hydra composed when the run began. A later command may have composed into the directory
again, so it only explains what the other files contradict, or stands in for a fingerprint."""

SINCE_2 = ("contents", "changes", "expressions")
"""Parts of a `run.json` that the first format did not have."""


def contradiction(path: Path, facts: Mapping[str, Any], *, resolve: bool = True) -> str | None:
    """Where the files of the run in `path` contradict each other; None where they agree.

    `facts`: its `run.json`. `resolve`: also follow the references between settings in it, which
    takes twenty times as long.
    """
    if (said := _another_format(facts)) is not None:
        return said
    values, ours = _mapping(path / "config.yaml"), flat(facts.get("config"))
    unlike = [
        (key, _said("config.yaml", key, theirs, own))
        for key, theirs, own in _unlike(flat(values), ours)
        if not _refers(own)
    ]
    known = _fingerprints(path)
    for key, said in unlike:
        # Between two fingerprints, what a resume changes may be in one file alone.
        if tells(key) and not (resumable(key) and len(known) != 1):
            return said
    if known and _is_one_of(known, facts, values, resolve=resolve or len(known) > 1):
        return None
    composed = _mapping(path / COMPOSED)
    called = facts.get("expressions")
    calls = [name.partition("[")[0] for name in called] if isinstance(called, Mapping) else []
    for key, theirs, own in _unlike(flat(composed), ours):
        if key not in calls and tells(key) and not resumable(key):
            return _said(str(COMPOSED), key, theirs, own)
    if known:
        return "status.json has the fingerprint of another configuration than run.json"
    if facts.get("format", 1) == FORMAT:
        # An edit of the other files alike shows by the fingerprint alone.
        return f"{STATUS} {'has no fingerprint' if (path / STATUS).exists() else 'is missing'}"
    return None


def fingerprint_on_record(facts: Mapping[str, Any], values: Any) -> str:
    """The fingerprint of what a `run.json` says, without the settings that it is too old to have.

    `values`: what its `config.yaml` holds. Raises OmegaConf's errors, TypeError or ValueError.
    """
    frozen, _ = freeze(OmegaConf.create(facts["config"]), lambda: values)
    return fingerprint_of(
        OmegaConf.to_container(frozen, resolve=True), facts["schemas"], facts.get("lengths", ())
    )


def flat(values: object, prefix: str = "") -> dict[str, Any]:
    """Settings by their full names; a list is one value."""
    found: dict[str, Any] = {}
    for key, value in values.items() if isinstance(values, Mapping) else ():
        inner = isinstance(value, Mapping) and value
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def _another_format(facts: Mapping[str, Any]) -> str | None:
    """Why a `run.json` is not of the older format that it says: those need no fingerprint."""
    known, newer = facts.get("format", 1), [name for name in SINCE_2 if name in facts]
    if known == FORMAT or not newer:
        return None
    return f"run.json has format {known}, but also {newer[0]}, as only format {FORMAT} has"


def _is_one_of(
    known: Sequence[str], facts: Mapping[str, Any], values: Any, *, resolve: bool
) -> bool:
    """Whether the configuration has one of the known fingerprints."""
    try:
        # Between two of them, `config.yaml` may be of either.
        if values and len(known) == 1:
            args = values, facts["schemas"], facts.get("lengths", ())
            if fingerprint_of(*args) not in known:
                return False
        return bool(values and not resolve) or fingerprint_on_record(facts, values) in known
    except (*MISFITS, AttributeError, KeyError, ValueError):
        return True  # whoever checks the configuration says what is wrong with it


def _fingerprints(path: Path) -> list[str]:
    """That of the run, and that before it was resumed while `run.json` may still be of then."""
    status = read_status(path)
    found = (status.get("fingerprint"), status.get("before"))
    return [each for each in found if isinstance(each, str) and each]


def _unlike(
    theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """The settings that are not alike in two files, with both values; `...` where there is none."""
    for key in dict.fromkeys([*theirs, *ours] if theirs and ours else ()):
        one, other = theirs.get(key, ...), ours.get(key, ...)
        # NaN is unlike itself.
        if one != other and repr(one) != repr(other):
            yield key, one, other


def _said(file: str, key: str, theirs: object, ours: object) -> str:
    one = f"{file} has no {key}" if theirs is ... else f"{file} has {key}={theirs}"
    return f"{one}, but run.json has {'none' if ours is ... else ours}"


def _refers(value: object) -> bool:
    return "${" in repr(value)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = read_yaml(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
