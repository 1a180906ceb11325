"""`tracking=csv`: the rows as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chord.io.writing import write_atomically
from chord.tracking.base import Tracker, Tracking, numbers, shown


@dataclass(kw_only=True)
class CsvTracking(Tracking):
    """`metrics.csv` with one line per step, and `summary.csv`, both in the run directory."""

    option = "csv"


class CsvTracker(Tracker):
    """Writes one line per step. The file is complete after every row; new metrics add columns."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.csv"
        self.summary_path = run_dir / "summary.csv"
        self._columns = ["step"]
        self._rows: list[dict[str, Any]] = []
        self._end = 0  # the offset of the last row in the file
        self._summary: dict[str, Any] = {}
        self._write_all()
        self.summary_path.unlink(missing_ok=True)

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        if not self._rows or self._rows[-1]["step"] != step:
            assert not self._rows or self._rows[-1]["step"] < step, "steps never decrease"
            self._rows.append({"step": step})
            self._end = self.path.stat().st_size
        self._rows[-1].update(numbers(row))
        new = [key for key in self._rows[-1] if key not in self._columns]
        if new:
            self._columns += new
            self._write_all()
        else:
            with self.path.open("r+b") as file:
                file.seek(self._end)
                file.write(self._text(self._rows[-1:]))
                file.truncate()

    def summary(self, values: Mapping[str, Any]) -> None:
        self._summary.update(numbers(values))
        text = _csv([["key", "value"], *([k, v] for k, v in self._summary.items())])
        write_atomically(self.summary_path, text)

    def messages(self) -> list[str]:
        return [f"metrics as a table: {shown(self.path)}"]

    def _write_all(self) -> None:
        head = _csv([self._columns]) + self._text(self._rows[:-1])
        self._end = len(head)
        write_atomically(self.path, head + self._text(self._rows[-1:]))

    def _text(self, rows: list[dict[str, Any]]) -> bytes:
        return _csv([[row.get(key, "") for key in self._columns] for row in rows])


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()
