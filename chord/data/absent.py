"""Fields that `data.columns` names, and that no row has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from chord.data.columns import Columns
from chord.data.nested import value_of
from chord.data.rows import Row, Rows
from chord.errors import ConfigError, suggest

_LOOKED_AT = 1000
"""The fields of so many rows, the first ones, are suggested."""


def refuse_absent(columns: Columns, asked: Sequence[Rows], expert: Rows | None = None) -> None:
    """Raise ConfigError where a column was set to a field that no row has.

    Right answers are those of the problems that are `asked`, and responses those of the expert; any
    other field may be in one source alone.
    """
    every = [*asked, *([] if expert is None else [expert])]
    for column, name in vars(columns).items():
        if name is None or name == vars(Columns())[column]:
            continue
        sources = every
        if column == "answer":
            sources = list(asked)
        elif column == "response" and expert is not None:
            sources = [expert]
        with suppress(_UnreadableError):
            if not any(_has(row, name) for rows in sources for row in _rows(rows)):
                names = list(dict.fromkeys(rows.name for rows in sources))
                have = "has" if len(names) == 1 else "have"
                first = [row for rows in sources for row in islice(rows, _LOOKED_AT)]
                raise ConfigError(
                    f"data.columns.{column}={name}: {' and '.join(names)} {have} no such field"
                    f"{_near(name, first)}"
                )


class _UnreadableError(Exception):
    """A row can't be read, which is told when its turn comes."""


def _rows(rows: Rows) -> Iterable[Row]:
    try:
        yield from rows
    except ConfigError as error:
        raise _UnreadableError from error


def _has(row: Row, name: str) -> bool:
    """Whether a row has a field, whatever it holds."""
    if name in row or value_of(row, name) is not None:
        return True
    outer, _, last = name.rpartition(".")
    return bool(outer) and last in _fields_of(value_of(row, outer))


def _fields_of(value: Any) -> list[str]:
    """The names of what is inside a value: the fields of an object, the numbers of a list."""
    if isinstance(value, Mapping):
        return list(value)
    return [str(place) for place in range(len(value))] if isinstance(value, list) else []


def _near(name: str, rows: Sequence[Row]) -> str:
    """The fields that may be meant: those beside the first part of a name that is not there."""
    outer, parts = "", name.split(".")
    for part in parts:
        inner = [_fields_of(value_of(row, outer) if outer else row) for row in rows]
        names = dict.fromkeys(
            f"{outer}.{each}" if outer else each for all_ in inner for each in all_
        )
        wanted = f"{outer}.{part}" if outer else part
        if wanted not in names:
            return suggest(wanted, names) if names else f"; there are no fields in {outer}"
        outer = wanted
    return ""
