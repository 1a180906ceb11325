"""Rows of data files, read one at a time: JSON lines, Parquet, data sets of Hugging Face.

Only the places where rows begin are kept in memory, never their text.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from chord.errors import ConfigError, first_line
from chord.io.reading import LINE, DeepError, opened, parse_json, read_lines

Row = dict[str, Any]
LINES = (".jsonl", ".ndjson", ".json")
_BOM = b"\xef\xbb\xbf"
_GROUPS = 4  # row groups of a Parquet file that are kept
_CHUNK = 1 << 20
_HUB = re.compile(r"hub://([\w.-]+/[\w.-]+)(?:/([\w.-]+))?(?::([\w.-]+))?")


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


class JsonLines(Rows):
    """A file with one JSON object per line; blank lines are skipped.

    Keeps the offset of each row (eight bytes), and no open file.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.name, path
        self.offsets = array("q")
        offset = 0
        for line in read_lines(path):
            if not line.isspace():
                self.offsets.append(offset)
            offset += len(line)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> Row:
        with opened(self.path) as file:
            file.seek(self.offsets[index])
            return self._parsed(file.readline(LINE), index)

    def __iter__(self) -> Iterator[Row]:
        lines = (line for line in read_lines(self.path) if not line.isspace())
        for index, line in enumerate(lines):
            yield self._parsed(line, index)

    def where(self, index: int) -> str:
        lines, left = 1, self.offsets[index]
        with opened(self.path) as file:
            while left > 0:
                chunk = file.read(min(left, _CHUNK))
                lines += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.name} line {lines}"

    def _parsed(self, line: bytes, index: int) -> Row:
        line = line.removeprefix(_BOM)
        try:
            row = parse_json(line)
        except ValueError as error:
            deep = isinstance(error, DeepError)
            if index == 0 and line.strip()[:1] == b"[" and not deep:
                raise self._array() from error
            reason = str(error).partition(":")[0]
            raise ConfigError(
                f"{self.where(index)}: is not valid JSON ({reason}); each line must hold one object"
            ) from error
        if index == 0 and isinstance(row, list):
            raise self._array()
        if not isinstance(row, dict):
            raise ConfigError(f"{self.where(index)}: must be an object with named fields")
        return row

    def _array(self) -> ConfigError:
        return ConfigError(
            f"{self.where(0)}: begins a JSON array; write one object on each line, as "
            f"jq -c '.[]' {self.name} does"
        )


class Parquet(Rows):
    """A Parquet file, read one row group at a time; the last few groups are kept."""

    def __init__(self, path: Path) -> None:
        try:
            # Here and below: an optional package.
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise ConfigError(
                f"{path}: needs pyarrow; pip install 'chord-posttraining[parquet]'"
            ) from error
        self.name, self.path = path.name, path
        try:
            facts = parquet.read_metadata(path)
        except ArrowException as error:
            raise ConfigError(f"{path}: is no Parquet file that can be read") from error
        sizes = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
        self.starts: list[int] = [0, *accumulate(sizes)]
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Row:
        group = bisect_right(self.starts, index) - 1
        row: Row = self._group(group).slice(index - self.starts[group], 1).to_pylist()[0]
        return row

    def _group(self, number: int) -> Any:
        if number not in self._kept:
            from pyarrow import parquet

            with parquet.ParquetFile(self.path) as file:
                self._kept[number] = file.read_row_group(number)
            if len(self._kept) > _GROUPS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


class Arrow(Rows):
    """A split of a dataset of the datasets library, which maps its files into memory."""

    def __init__(self, name: str, split: Any) -> None:
        self.name, self.split = name, split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Row:
        return dict(self.split[index])


def open_rows(setting: str, path: str) -> Rows:
    """The rows of a file by its suffix, of a directory of the datasets library, or of the hub.

    `setting` is the setting that the path was given for. Raises ConfigError naming it if there is
    no such source, if it can't be read, or if it has no rows.
    """
    try:
        rows = _open(path)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(f"{setting}={path}: {reason}") from error
    if len(rows) == 0:
        raise ConfigError(f"{setting}={path}: holds no rows")
    return rows


def _open(path: str) -> Rows:
    place = Path(path).expanduser()
    if path.startswith("hub://"):
        return _hub(path)
    if place.is_dir():
        return _saved(place, "train")
    if not place.exists() and ":" in place.name:
        directory, _, split = str(place).rpartition(":")
        return _saved(Path(directory), split)
    if not place.exists():
        raise ConfigError("no such file")
    if not place.is_file():
        raise ConfigError("is not a regular file")
    if place.suffix in LINES:
        return JsonLines(place)
    if place.suffix == ".parquet":
        return Parquet(place)
    raise ConfigError(
        f"must end in {', '.join(LINES)} or .parquet, be a directory that the datasets library "
        "saved, or hub://OWNER/NAME"
    )


def _saved(place: Path, split: str) -> Rows:
    """A directory written by `save_to_disk`: one split, or several of which one is named."""
    if not ((place / "state.json").exists() or (place / "dataset_dict.json").exists()):
        raise ConfigError("no such file, nor a directory that the datasets library saved")
    found = _datasets().load_from_disk(str(place))
    if hasattr(found, "keys"):
        if split not in found:
            raise ConfigError(f"has no split {split}; it has {', '.join(found)}")
        found = found[split]
    return Arrow(place.name, found)


def _hub(path: str) -> Rows:
    match = _HUB.fullmatch(path)
    if match is None:
        raise ConfigError("must be hub://OWNER/NAME, then /CONFIGURATION and :SPLIT if needed")
    datasets = _datasets()
    try:
        split = datasets.load_dataset(match[1], match[2], split=match[3] or "train")
    except Exception as error:  # the library raises many kinds
        raise ConfigError(f"can't be loaded ({first_line(error)})") from error
    return Arrow(match[1], split)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "needs the datasets library; pip install 'chord-posttraining[datasets]'"
        ) from error
    return datasets
