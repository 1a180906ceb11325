"""Text files of rows: JSON lines, JSON arrays and CSV.

Only the places where rows begin are kept in memory, never their text.
"""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path

from chord.data.row_checks import trouble
from chord.data.rows import Row, Rows
from chord.errors import ConfigError
from chord.io.reading import LINE, opened, parse_json, read_lines

BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_CHUNK = 1 << 20
_TOO_LONG = f"is longer than {LINE >> 20} MiB"
# A string, which is whole if its last quote is there too, or a bracket outside of strings.
NESTING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*("?)|[\[\]{}]', re.DOTALL)
_SEPARATORS = {",": "a comma", "\t": "a tab"}
_SPACE = re.compile(rb"\s*")


class TextRows(Rows):
    """Rows in a file of text; keeps the offset of each row (eight bytes), and no open file."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name, self.path = name or path.name, path
        self.offsets = array("q")
        with opened(path) as file:
            start = file.read(4)
        if start[:2] in _WIDE or b"\0" in start:
            raise ConfigError(f"{self.name} is UTF-16 or UTF-32; save it as UTF-8")

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Row:
        with opened(self.path) as file:
            return self._read(file, index)

    def __iter__(self) -> Iterator[Row]:
        with opened(self.path) as file:
            for index in range(len(self)):
                yield self._read(file, index)

    @abstractmethod
    def _read(self, file: BufferedReader, index: int) -> Row: ...

    def where(self, index: int) -> str:
        return self._line(self.offsets[index])

    def _line(self, offset: int) -> str:
        """The line that an offset is in, for error messages."""
        lines, left = 1, offset
        with opened(self.path) as file:
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                lines += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.name} line {lines}"

    def _parsed(self, text: bytes, index: int, must: str) -> Row:
        """The object in a text; `must` says how the file is written."""
        text = text.removeprefix(BOM)
        try:
            row = parse_json(text)
        except ValueError as error:
            reason = str(error).partition(":")[0]
            raise ConfigError(
                f"{self.where(index)}: is not valid JSON ({reason}); {must}"
            ) from error
        if not isinstance(row, dict):
            raise ConfigError(f"{self.where(index)}: must be an object with named fields")
        if (why := trouble(text, row)) is not None:
            raise ConfigError(f"{self.where(index)}: {why}")
        return row


class JsonLines(TextRows):
    """A file with one JSON object per line; blank lines are skipped."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        super().__init__(path, name)
        offset = 0
        for line in read_lines(path):
            if not line.isspace():
                self.offsets.append(offset)
            offset += len(line)

    def _read(self, file: BufferedReader, index: int) -> Row:
        file.seek(self.offsets[index])
        return self._line_of(file.readline(LINE), index)

    def __iter__(self) -> Iterator[Row]:
        lines = (line for line in read_lines(self.path) if not line.isspace())
        for index, line in enumerate(lines):
            yield self._line_of(line, index)

    def _line_of(self, line: bytes, index: int) -> Row:
        return self._parsed(line, index, "each line must hold one object")


class JsonArray(TextRows):
    """A file that holds one JSON array of objects, written in any way; none may exceed 16 MiB."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        super().__init__(path, name)
        self.ends = array("q")
        with opened(path) as file:
            self._find(file)

    def _find(self, file: BufferedReader) -> None:
        """Find the places of the rows."""
        self._take(Elements(file, self._refuse))

    def _take(self, places: Iterable[tuple[int, int]]) -> None:
        for begin, end in places:
            self.offsets.append(begin)
            self.ends.append(end)

    def where(self, index: int) -> str:
        line, near = super().where(index), range(index - 1, index + 2, 2)
        shared = any(super(JsonArray, self).where(n) == line for n in near if 0 <= n < len(self))
        return f"{line}, row {index + 1}" if shared else line

    def _read(self, file: BufferedReader, index: int) -> Row:
        begin = self.offsets[index]
        file.seek(begin)
        text = file.read(self.ends[index] - begin)
        return self._parsed(text, index, "the array must hold objects")

    def _refuse(self, offset: int, why: str) -> ConfigError:
        return ConfigError(f"{self._line(offset)}: {why}")


class Elements:
    """The places of the elements of a JSON array, found without reading all of it into memory."""

    unfinished = "is not valid JSON (the array has no end)"

    def __init__(self, file: BufferedReader, refusal: Callable[[int, str], ConfigError]) -> None:
        self.file, self.refusal = file, refusal
        self.text, self.begin, self.at = b"", 0, 0
        """A part of the file, its offset, and the place in it that comes next."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self._next(also=BOM) != b"[":
            raise self._refused("must begin a JSON array")
        yield from self._elements()
        if self._next():
            raise self._refused("is not valid JSON (something follows the array)")

    def _elements(self) -> Iterator[tuple[int, int]]:
        """The places of the elements of the array that begins here, which is then passed."""
        self.at += 1
        found = self._next()
        while found != b"]":
            if found not in (b"{", b"["):
                raise self._refused(
                    "must be an object with named fields" if found else self.unfinished
                )
            yield self._passed(self._end, _TOO_LONG)
            found = self._after(b"]")
        self.at += 1

    def _after(self, closing: bytes) -> bytes:
        """What follows an element and its comma; or what closes the array or object."""
        found = self._next()
        if found == b",":
            self.at += 1
            return self._next()
        if found != closing:
            raise self._refused("is not valid JSON (no comma)" if found else self.unfinished)
        return found

    def _refused(self, why: str) -> ConfigError:
        return self.refusal(self.begin + self.at, why)

    def _more(self) -> bool:
        """Read on, and forget what has been passed."""
        chunk = self.file.read(_CHUNK)
        self.text, self.begin, self.at = self.text[self.at :] + chunk, self.begin + self.at, 0
        return bool(chunk)

    def _next(self, also: bytes = b"") -> bytes:
        """The next byte that is no space; nothing at the end."""
        while True:
            if also and self.text.startswith(also):
                self.at = len(also)
            space = _SPACE.match(self.text, self.at)
            assert space is not None, "a space can be empty"
            self.at = space.end()
            if self.at < len(self.text):
                return self.text[self.at : self.at + 1]
            if not self._more():
                return b""

    def _passed(self, find: Callable[[], int | None], too_long: str) -> tuple[int, int]:
        """The offsets of what begins here, and of what follows it; `find` tells where it ends."""
        while (end := find()) is None:
            if len(self.text) - self.at > LINE:
                raise self._refused(too_long)
            if not self._more():
                raise self._refused(self.unfinished)
        begin, self.at = self.at, end
        return self.begin + begin, self.begin + end

    def _end(self) -> int | None:
        """Where the element ends; None if that is not in the text."""
        level = 0
        for found in NESTING.finditer(self.text, self.at):
            sign = found[0][:1]
            if sign == b'"':
                if not found[1]:
                    return None
                continue
            level += 1 if sign in b"[{" else -1
            if level == 0:
                return found.end()
        return None


class Csv(TextRows):
    """A table with the fields' names in its first row; all values are text, empty ones are none.

    A quoted value may hold line ends.
    """

    def __init__(self, path: Path, name: str | None = None, *, delimiter: str = ",") -> None:
        super().__init__(path, name)
        self.delimiter = delimiter
        self.fields: list[str] = []
        with opened(path) as file:
            for offset, cells in self._records(file):
                if not self.fields:
                    self.fields = [cell.strip() for cell in cells]
                    twice = [each for each in self.fields if self.fields.count(each) > 1]
                    if twice:
                        raise ConfigError(
                            f"{self._line(offset)}: names the field {twice[0]!r} twice"
                        )
                    self._refuse_other_separators(offset)
                else:
                    self.offsets.append(offset)

    def _refuse_other_separators(self, offset: int) -> None:
        """Refuse a table that another separator makes a single column of."""
        (name, *others), must = self.fields, _SEPARATORS[self.delimiter]
        separators = {";", "\t", ","} - {self.delimiter}
        found = next((each for each in sorted(separators) if each in name), None)
        if found is None or others:
            return
        named = "; a table with tabs must be named .tsv" if found == "\t" else ""
        raise ConfigError(
            f"{self._line(offset)}: names one field, {name!r:.60}; the separator must be "
            f"{must}{named}"
        )

    def _read(self, file: BufferedReader, index: int) -> Row:
        file.seek(self.offsets[index])
        _, cells = next(self._records(file))
        return self._row(cells, index)

    def __iter__(self) -> Iterator[Row]:
        with opened(self.path) as file:
            records = self._records(file)
            next(records, None)
            for index, (_, cells) in enumerate(records):
                yield self._row(cells, index)

    def _row(self, cells: list[str], index: int) -> Row:
        if len(cells) != len(self.fields):
            raise ConfigError(
                f"{self.where(index)}: has {len(cells)} values, and the first row names "
                f"{len(self.fields)} fields"
            )
        return {name: cell or None for name, cell in zip(self.fields, cells, strict=True)}

    def _records(self, file: BufferedReader) -> Iterator[tuple[int, list[str]]]:
        """The rows of cells from where the file is, each with its offset; no blank ones."""
        place = begin = file.tell()

        def lines() -> Iterator[str]:
            nonlocal place
            while line := file.readline(LINE + 1):
                if len(line) > LINE:
                    raise csv.Error(f"a line {_TOO_LONG}")
                encoding = "utf-8" if place else "utf-8-sig"
                place += len(line)
                yield line.decode(encoding)

        reader = csv.reader(lines(), delimiter=self.delimiter, strict=True)
        while True:
            begin = place
            limit = csv.field_size_limit(LINE)  # of the process, in which others read CSV, too
            try:
                cells = next(reader, None)
            except (csv.Error, UnicodeDecodeError) as error:
                reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                raise ConfigError(
                    f"{self._line(begin)}: can't be read as CSV ({reason})"
                ) from error
            finally:
                csv.field_size_limit(limit)
            if cells is None:
                return
            if cells:
                yield begin, cells
