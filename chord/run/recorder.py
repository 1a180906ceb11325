"""The run directory's own record: append-only JSON lines that need no tracker and survive a kill.

==================== ==================================================================
file                 one row is
==================== ==================================================================
metrics.jsonl        train step t = 0..T-1: what was computed; no wall-clock columns, so two
                     runs of one command agree byte for byte; a skipped branch has no keys
timings.jsonl        the same step's seconds and tokens per second
evaluations.jsonl    an evaluation after `step` completed train steps (0..T), with its
                     `split` (val, test) and `model` (base, trained)
completions.jsonl    one sampled answer of train step `step`
samples.jsonl        a problem of the last evaluation with the greedy answers of the base and of
                     the trained model; written once, at the end
==================== ==================================================================

Floats are written so that they read back exactly; JSON has no NaN or infinity, so a number that
is not finite becomes null (and the loss curves show a gap there).
"""

from __future__ import annotations

import json
import math
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.reading import parse_json, read_json, read_lines
from chord.io.writing import UnwrittenError, full_disk_said, write_atomically

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"
EVALUATIONS = "evaluations.jsonl"
COMPLETIONS = "completions.jsonl"
SAMPLES = "samples.jsonl"
APPENDED = (METRICS, TIMINGS, EVALUATIONS, COMPLETIONS)
STATUS = "status.json"
SCORER_FAILURE = "scorer_failure.json"
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
"""How a run is going on, or ended, as its `status.json` says."""
FORMAT = 2
"""Of `run.json`; the first had neither lengths nor contents."""

Row = dict[str, Any]


class TamperedError(ConfigError):
    """Somebody else has changed a file of a run, or taken its directory away."""

    def __init__(self, path: Path, run_dir: Path, without: str = "") -> None:
        said = (
            f"{path}: was removed or changed while the run was writing it; resume={run_dir} goes "
            f"on from the last checkpoint{without}"
        )
        gone = f"{run_dir}: was moved or removed while the run was writing into it"
        super().__init__(said if run_dir.is_dir() else gone)


class Recorder:
    """Writes one run directory's rows. Every row reaches the operating system before it returns.

    Holds a path and no open file, so it can be copied to a worker and never needs closing.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._evaluated = {_identity(row) for row in read_rows(self.run_dir / EVALUATIONS)}
        self._left: dict[str, _Left] = {}

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
        self._left = {name: _Left.of(self.run_dir / name) for name in APPENDED}

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
        self._left.setdefault(name, _Left.of(path))
        self.check(name)
        left = self._left[name]
        try:
            with full_disk_said(path), open(path, "ab", opener=_no_link) as file:
                file.write(content)
        except UnwrittenError:
            with suppress(FileNotFoundError):  # there was no room to make it
                os.truncate(path, left.size)  # no half of a line
            raise
        left.add(path, content)


def read_status(path: Path) -> dict[str, object]:
    """The `status.json` of a run directory; empty where there is none that can be read."""
    try:
        return read_json(path / STATUS)
    except (OSError, ValueError):
        return {}


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a JSON lines file; none if it does not exist. A half-written last line is skipped.

    Raises ConfigError, naming file and line, where any other line is not a JSON object.
    """
    return [row for _, row in _lines(Path(path))]


def _lines(path: Path) -> Iterator[tuple[bytes, Row]]:
    if not path.exists():
        return
    for number, line in enumerate(read_lines(path), start=1):
        if not line.endswith(b"\n"):
            # Only a kill in mid-write leaves no line end, and only on the last line.
            return
        try:
            row = parse_json(line, exact=False)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: not a JSON object")
        yield line, row


@dataclass
class _Left:
    """A file as this process has left it: `checksum` of its `size` bytes, `stamp` of when."""

    size: int = 0
    checksum: int = 0
    stamp: tuple[int, int] | None = None

    @classmethod
    def of(cls, path: Path) -> _Left:
        left = cls()
        if path.exists():
            left.add(path, path.read_bytes())
        return left

    def add(self, path: Path, content: bytes) -> None:
        """`content` has been added to it."""
        self.size += len(content)
        self.checksum = zlib.crc32(content, self.checksum)
        self.stamp = _stamp(path.lstat())

    def is_there(self, path: Path) -> bool:
        """Whether it is as it was left; it is only read where somebody has written it since."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return self.size == 0
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            return False
        # A stamp alone proves nothing: not every file system keeps its own.
        if _stamp(found) != self.stamp and zlib.crc32(path.read_bytes()) != self.checksum:
            return False
        self.stamp = _stamp(found)
        return True


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_mtime_ns


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _rewrite(path: Path, keep: Callable[[Row], bool]) -> None:
    if path.exists():
        write_atomically(path, b"".join(line for line, row in _lines(path) if keep(row)))


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
