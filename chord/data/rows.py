"""The rows of a source, read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

Row = dict[str, Any]


class Rows(ABC):
    """The rows of a source, by number."""

    name: str
    """The name of the source in error messages."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Row: ...

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def where(self, index: int) -> str:
        """The place of a row for error messages: `p.jsonl line 17`, counted from 1."""
        return f"{self.name} row {index + 1}"


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
        self.starts = [0, *accumulate(map(len, self.parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Row:
        part, at = self._place(index)
        return part[at]

    def __iter__(self) -> Iterator[Row]:
        for part in self.parts:
            yield from part

    def where(self, index: int) -> str:
        part, at = self._place(index)
        return part.where(at)

    def _place(self, index: int) -> tuple[Rows, int]:
        number = bisect_right(self.starts, index) - 1
        return self.parts[number], index - self.starts[number]
