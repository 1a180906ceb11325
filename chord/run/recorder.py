"""Writes a run's own record: append-only JSON lines that need no tracker and survive a kill.

Floats are written so that they read back exactly; JSON has no NaN or infinity, so a number that
is not finite becomes null (and the loss curves show a gap there).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chord.io.writing import UnwrittenError, full_disk_said, write_atomically
from chord.run.files import (
    APPENDED,
    COMPLETIONS,
    EVALUATIONS,
    METRICS,
    SAMPLES,
    TIMINGS,
    Row,
    lines,
)
from chord.run.files import read_rows as read_rows  # where it was before
from chord.run.tampering import Left, TamperedError, no_link


class Recorder:
    """Writes one run directory's rows. Every row reaches the operating system before it returns.

    Holds a path and no open file, so it can be copied to a worker and never needs closing.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._evaluated = {_identity(row) for row in read_rows(self.run_dir / EVALUATIONS)}
        self._left: dict[str, Left] = {}

    def train(
        self, step: int, metrics: Mapping[str, Any], timings: Mapping[str, Any] | None = None
    ) -> None:
        """Append train step `step`."""
        self._append(METRICS, [{"step": step, **metrics}])
        if timings:
            self._append(TIMINGS, [{"step": step, **timings}])

    def evaluation(self, step: int, row: Mapping[str, Any]) -> None:
        """Append an evaluation after `step` completed steps; `row` names `split` and `model`.

        The same step, split and model again is ignored: a run killed between its evaluation and
        its checkpoint, or resumed from between the two, evaluates once more to the same numbers.
        """
        full = {"step": step, **row}
        if _identity(full) not in self._evaluated:
            self._append(EVALUATIONS, [full])
            self._evaluated.add(_identity(full))

    def has_evaluation(self, step: int, split: str, model: str) -> bool:
        """Whether this evaluation is on record."""
        return (step, split, model) in self._evaluated

    def completions(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append sampled answers of train step `step`."""
        self._append(COMPLETIONS, [{"step": step, **row} for row in rows])

    def samples(self, split: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the side-by-side answers of `split`, in place of any that were there."""
        text = "".join(_line({"split": split, **row}) for row in rows)
        write_atomically(self.run_dir / SAMPLES, text.encode())

    def truncate(self, step: int) -> None:
        """Forget everything after `step` completed steps, as a run resumed from there must.

        Drops train, timing and completion rows with step >= `step` and evaluations with step >
        `step`; test rows always, because the test split is only read when training has ended.
        Kept lines are kept byte for byte, a half-written last line is dropped, and each file is
        replaced at once: a kill in here leaves the old file or the new one.
        """
        for name in (METRICS, TIMINGS, COMPLETIONS):
            _rewrite(self.run_dir / name, lambda row: row["step"] < step)
        _rewrite(
            self.run_dir / EVALUATIONS,
            lambda row: row["step"] <= step and row.get("split") != "test",
        )
        self._evaluated = {_identity(row) for row in read_rows(self.run_dir / EVALUATIONS)}
        self._left = {name: Left.of(self.run_dir / name) for name in APPENDED}

    def check(self, *names: str) -> None:
        """Raise `TamperedError` where a file, of all or of these, isn't as it was left."""
        for name in names or self._left:
            path = self.run_dir / name
            if not self._left[name].is_there(path):
                raise TamperedError(path, self.run_dir, ", without the rows it lacks")

    def history(self) -> list[Row]:
        """All rows in the order a tracker must receive them: the evaluation after t steps, then
        train step t with its timings."""
        evaluations = read_rows(self.run_dir / EVALUATIONS)
        timings = {row["step"]: row for row in read_rows(self.run_dir / TIMINGS)}
        metrics = read_rows(self.run_dir / METRICS)
        steps = [{**row, **timings.get(row["step"], {})} for row in metrics]
        # sorted() is stable, so at equal steps the evaluations stay first.
        return sorted([*evaluations, *steps], key=lambda row: int(row["step"]))

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        path = self.run_dir / name
        content = "".join(_line(row) for row in rows).encode()
        self._left.setdefault(name, Left.of(path))
        self.check(name)
        left = self._left[name]
        try:
            with full_disk_said(path), open(path, "ab", opener=no_link) as file:
                file.write(content)
        except UnwrittenError:
            with suppress(FileNotFoundError):  # there was no room to make it
                os.truncate(path, left.size)  # no half of a line
            raise
        left.add(path, content)


def _rewrite(path: Path, keep: Callable[[Row], bool]) -> None:
    if path.exists():
        write_atomically(path, b"".join(line for line, row in lines(path) if keep(row)))


def _identity(row: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return row["step"], row.get("split"), row.get("model")


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """`value` as JSON has it: numbers of any library become Python's, non-finite ones None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "item"):  # a tensor or numpy scalar, recognised without importing either
        return plain(value.item())
    assert isinstance(value, Iterable), f"{value!r} has no JSON form"
    return [plain(item) for item in value]
