"""Files and texts that may be anybody's: read within limits, shown without power over a terminal.

Run directories are passed on, data come from elsewhere, models and verifiers write what they like.
Whatever chord reads of them comes through here: only regular files, so that nothing waits for a
pipe; no more of them than a limit; nothing nested so deeply that a function that follows it would
run out of stack; no YAML that unfolds into more than is written.
"""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson
import yaml

from chord.errors import ConfigError

FACTS = 16 * 2**20
"""Bytes of a JSON file that is read as a whole: `run.json`, `status.json`, `sweep.json`."""
SETTINGS = 2**20
"""Bytes of a YAML file."""
LINE = 16 * 2**20
"""Bytes of one line of a file of JSON lines, which may itself be as large as the disk."""
DEPTH = 100
"""Lists and mappings within one another."""

_LONG = re.compile(rb"[0-9]{16}")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# One with more characters is no number or hash that chord writes, and in base 60 takes for ever.
_DIGITS = 64
_NUMBER = re.compile(r"[-+.]?[0-9][\w:.+-]*")
# What joins letters in Persian and Indic scripts, and people in an emoji.
_JOINERS = "\u200c\u200d"


def opened(path: Path) -> BufferedReader:
    """A regular file, open for reading; ConfigError for a pipe, a device or a directory.

    It never waits, as opening a pipe without a writer would.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConfigError(f"{path.name} is not a regular file")
    return open(handle, "rb")


def read_bytes(path: Path, limit: int = FACTS) -> bytes:
    """All of a regular file; ConfigError where it is larger than `limit` bytes."""
    with opened(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ConfigError(f"{path.name} is larger than {_size(limit)}")
    return content


def read_lines(path: Path, limit: int = LINE) -> Iterator[bytes]:
    """The lines of a regular file, with their ends; ConfigError where one exceeds `limit`."""
    with opened(path) as file:
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) > limit:
                raise ConfigError(f"{path.name} line {number}: is longer than {_size(limit)}")
            yield line


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; ConfigError, naming the file, where it holds none."""
    content = read_bytes(path)
    try:
        value = parse_json(content)
    except ValueError as error:
        reason = error if isinstance(error, DeepError) else "not JSON"
        raise ConfigError(f"{path.name} can't be read ({reason})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path.name} is not a JSON object")
    return value


class DeepError(ValueError):
    """Lists and mappings too deeply within one another."""

    def __init__(self) -> None:
        super().__init__(f"nested deeper than {DEPTH} levels")


def parse_json(text: bytes, *, exact: bool = True) -> Any:
    """What JSON says, also Python's NaN and Infinity.

    `exact`: whole numbers beyond 64 bits, which orjson rounds, keep all digits, up to Python's
    limit of 4,300. Raises ValueError for what isn't JSON and `DeepError` for what is too deep.
    """
    try:
        value = orjson.loads(text)
        if exact and _LONG.search(text):
            value = json.loads(text)
    except ValueError as error:
        if "depth" in str(error) or "ecursion" in str(error):
            raise DeepError from error
        value = _parse_other_json(text, error)
    # No text has more levels than opening brackets.
    if text.count(b"[") + text.count(b"{") > DEPTH and depth(value) > DEPTH:
        raise DeepError
    return value


def _parse_other_json(text: bytes, reason: ValueError) -> Any:
    """What Python's own reader makes of a text that orjson refuses for `reason`."""
    try:
        return json.loads(text)
    except RecursionError:
        raise DeepError from None
    except ValueError:
        raise reason from None


def depth(value: Any) -> int:
    """How many lists and mappings lie within one another: 0 for a number, 2 for `{"a": []}`."""
    level, found = [value], 0
    while level := [each for each in level if isinstance(each, list | dict)]:
        level = [e for each in level for e in (each.values() if isinstance(each, dict) else each)]
        found += 1
    return found


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; ConfigError, naming the file, where it can't be read.

    Aliases, by which a few lines unfold into gigabytes, and tags are refused: chord writes neither.
    """
    content = read_bytes(path, SETTINGS)
    try:
        trouble = _trouble(content)
        if trouble is None:
            return parse_yaml(content)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path.name} is not YAML") from error
    raise ConfigError(f"{path.name} can't be read ({trouble})")


def parse_yaml(text: bytes) -> Any:
    """What YAML of chord's own says."""
    return yaml.load(text, _Loader)


def check_yaml(path: Path) -> None:
    """The same, without loading it; a file that holds something must hold a mapping."""
    content = read_bytes(path, SETTINGS)
    try:
        trouble = _trouble(content)
        if trouble is None:
            events = yaml.parse(content, _Loader)
            first = next((each for each in events if isinstance(each, yaml.NodeEvent)), None)
            empty = isinstance(first, yaml.ScalarEvent) and first.value in ("", "null", "~")
            if first is not None and not empty and not isinstance(first, yaml.MappingStartEvent):
                trouble = "it must hold settings, as in NAME: VALUE"
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path.name} is not YAML ({said})") from error
    if trouble is not None:
        raise ConfigError(f"{path.name} can't be read ({trouble})")


def _trouble(content: bytes) -> str | None:
    """Why YAML would take long to load, recur deeply, or make other objects than plain ones."""
    level = 0
    for event in yaml.parse(content, _Loader):
        if isinstance(event, yaml.AliasEvent):
            return f"it has an alias, *{event.anchor}: write out what that stands for"
        if getattr(event, "tag", None) is not None:
            return f"it has a tag, {event.tag}: only plain values are read"
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            number = _NUMBER.fullmatch(event.value)
            if number is not None and number.end() > _DIGITS:
                return f"it has a number of {number.end()} characters"
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        if level > DEPTH:
            return str(DeepError())
    return None


def refuse_links(directory: Path, named: str, besides: Sequence[str] = ()) -> None:
    """Raise ConfigError where something in a directory to be written into is a symbolic link.

    The directory itself may be one, and so may entries of it that are looked at otherwise
    (`besides`). Of the directories within it, a run writes into `checkpoints` and `.hydra`; W&B's
    own has links that it needs.
    """
    for place in (directory, directory / "checkpoints", directory / ".hydra"):
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if entry.is_symlink() and (place != directory or entry.name not in besides):
                if not entry.exists():
                    where = f"{entry.relative_to(directory)} in it"
                    raise ConfigError(f"{named}: {where} {leads_nowhere(entry)}")
                raise ConfigError(
                    f"{named}: {entry.relative_to(directory)} in it is a symbolic link, through "
                    "which another file would be written; put the file itself in its place"
                )


def leads_nowhere(link: Path) -> str:
    """What is wrong with a symbolic link whose target is missing, and what to do."""
    return (
        f"is a symbolic link to {link.resolve()}, which is not there; if that or the link was "
        "moved, move it back, or else remove the link"
    )


def printable(text: str, keep: str = "") -> str:
    r"""A text for a terminal: whatever would command it, or hide or turn round letters, is escaped.

    Control characters (with them ANSI and OSC sequences), bidirectional overrides, invisible
    formats and lone surrogates are written as Python does. `keep`: control characters that may
    stand, such as line ends.

    >>> printable("\x1b[2J gone")
    '\\x1b[2J gone'
    """
    if text.isprintable():
        return text
    return "".join(c if _harmless(c) or c in keep else repr(c)[1:-1] for c in text)


def _harmless(character: str) -> bool:
    # Wide and unbreakable spaces are no "printable" characters to Python.
    return (
        character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
    )


def _size(limit: int) -> str:
    return f"{limit // 2**20} MiB"
