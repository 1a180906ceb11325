"""Columnar files: Parquet, and data sets of Hugging Face's library."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chord.data.rows import Places, Row, Rows
from chord.errors import ConfigError
from chord.io.extras import install

_GROUPS = 4  # row groups of a Parquet file that are kept
_BATCH = 1000


class Parquet(Rows):
    """A Parquet file, read one row group at a time; the last few groups are kept."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        try:
            # Here and below: an optional package.
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise ConfigError(f"{path}: needs pyarrow; {install('parquet')}") from error
        self.name, self.path = name or path.name, path
        try:
            facts = parquet.read_metadata(path)
            names = parquet.read_schema(path).names
        except ArrowException as error:
            raise ConfigError(f"{path}: is no Parquet file that can be read") from error
        for field in names:
            if names.count(field) > 1:
                raise ConfigError(f"{self.name}: names the field {field!r} twice")
        groups = range(facts.num_row_groups)
        self._places = Places(facts.row_group(group).num_rows for group in groups)
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Row:
        group, at = self._places[index]
        row: Row = self._group(group).slice(at, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[Row]:
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()

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
