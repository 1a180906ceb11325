"""The rows of a source, read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

Row = dict[str, Any]


class Rows(ABC):
    """The rows of a source, by number."""

    name: str
    """The name of the source in error messages."""
    within: str = ""
    """The field whose list has the rows, where the source is one object."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Row: ...

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def where(self, index: int) -> str:
        """The place of a row for error messages: `p.jsonl line 17`, counted from 1."""
        return f"{self.name} row {index + 1}"


class Places:
    """The place of each row in parts of different sizes: the part, and the row within it.

    >>> Places([2, 0, 3])[2]
    (2, 0)
    """

    def __init__(self, sizes: Iterable[int]) -> None:
        self._starts = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> tuple[int, int]:
        part = bisect_right(self._starts, index) - 1
        return part, index - self._starts[part]


class Listed(Rows):
    """Rows that are in memory."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self.name = name
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


class Shards(Rows):
    """The rows of several sources, one after the other."""

    def __init__(self, name: str, parts: Sequence[Rows]) -> None:
        self.name, self.parts = name, list(parts)
        self._places = Places(map(len, self.parts))
        self.within = ", ".join(sorted({part.within for part in parts if part.within}))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Row:
        part, at = self._places[index]
        return self.parts[part][at]

    def __iter__(self) -> Iterator[Row]:
        for part in self.parts:
            yield from part

    def where(self, index: int) -> str:
        part, at = self._places[index]
        return self.parts[part].where(at)
