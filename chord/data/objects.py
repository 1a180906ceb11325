"""Files that hold one JSON object, and the rows in a list of it: `{"data": [...]}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from chord.data.lines import BOM, NESTING, Elements, JsonArray
from chord.errors import ConfigError, shortened
from chord.io.reading import LINE, opened, parse_json

LISTS = ("data", "rows", "examples", "instances")
"""The names under which an object can have the rows."""
_PLAIN = re.compile(rb"[^\s,\]}]*")


class JsonObject(JsonArray):
    """A file that holds one JSON object with the rows in a list, under one of `LISTS`."""

    def _find(self, file: BufferedReader) -> None:
        members = Members(file, self._refuse)
        self._take(members)
        if not members.rows:
            raise ConfigError(
                f"{self.name} is one JSON object, and none of its fields is a list of rows named "
                f"{', '.join(LISTS)}; it has: {shortened('', members.names) or 'none'}"
            )
        self.within = members.rows


def is_object(path: Path) -> bool:
    """Whether a file holds one JSON object that has rows inside, rather than a row on each line.

    An object alone on its line is a row, unless it is the only one and has one of the lists.
    """
    with opened(path) as file:
        lines = (line for line in iter(lambda: file.readline(LINE + 1), b"") if not line.isspace())
        first, rest = next(lines, b""), next(lines, None)
    try:
        row = parse_json(first.removeprefix(BOM))
    except ValueError:
        return _is_spread(path)
    return rest is None and isinstance(row, dict) and any(_is_list(row.get(name)) for name in LISTS)


def _is_list(value: object) -> bool:
    return isinstance(value, list) and (not value or isinstance(value[0], dict))


def _is_spread(path: Path) -> bool:
    """Whether an object that goes on behind its first line has a list of rows, or ends the file."""
    with opened(path) as file:
        members = Members(file, lambda _, why: ConfigError(why))
        try:
            next(iter(members), None)
        except ConfigError:
            return bool(members.rows)
    return True


class Members(Elements):
    """The places of the rows in a list of a JSON object, found while all its fields are passed."""

    unfinished = "is not valid JSON (the object has no end)"

    def __init__(self, file: BufferedReader, refusal: Callable[[int, str], ConfigError]) -> None:
        super().__init__(file, refusal)
        self.names: list[str] = []
        """The fields so far."""
        self.rows = ""
        """The field that has the rows."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self._next(also=BOM) != b"{":
            raise self._refused("must begin a JSON object")
        self.at += 1
        found = self._next()
        while found != b"}":
            name = self._name()
            if name in LISTS and self._next() == b"[":
                if self.rows:
                    raise self._refused(f"has rows in {self.rows} and in {name}; leave one of them")
                self.rows = name
                yield from self._elements()
            else:
                self._pass_value(name)
            found = self._after(b"}")
        self.at += 1
        if self._next():
            raise self._refused("is not valid JSON (something follows the object)")

    def _name(self) -> str:
        """The name of the field that begins here, which is passed with its colon."""
        if (found := self._next()) != b'"':
            raise self._refused("is not valid JSON (no name)" if found else self.unfinished)
        begin, end = self._passed(self._value, "has a name of more than 16 MiB")
        text = self.text[begin - self.begin : end - self.begin]
        if self._next() != b":":
            raise self._refused("is not valid JSON (no colon)")
        self.at += 1
        self.names.append(text[1:-1].decode(errors="replace"))
        return self.names[-1]

    def _pass_value(self, name: str) -> None:
        self._next()
        begin, end = self._passed(
            self._value,
            f"has more than 16 MiB in the field {name}, and rows are read only from a list named "
            f"{', '.join(LISTS)}",
        )
        if begin == end:
            raise self._refused("is not valid JSON (no value)")

    def _value(self) -> int | None:
        """Where the value that begins here ends; None if that is not in the text."""
        sign = self.text[self.at : self.at + 1]
        if sign in (b"{", b"["):
            return self._end()
        if sign == b'"':
            text = NESTING.match(self.text, self.at)
            return text.end() if text is not None and text[1] else None
        plain = _PLAIN.match(self.text, self.at)
        assert plain is not None, "it can be empty"
        return plain.end() if plain.end() < len(self.text) else None
