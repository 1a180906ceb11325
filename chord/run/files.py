"""The files of a run directory: their names, and how rows and the status are read.

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
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chord.errors import ConfigError
from chord.io.reading import parse_json, read_json, read_lines
from chord.run.shapes import MEND, misfit, no_number, of_status

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"
EVALUATIONS = "evaluations.jsonl"
COMPLETIONS = "completions.jsonl"
SAMPLES = "samples.jsonl"
CHECKPOINT = Path("checkpoints") / "last.ckpt"
APPENDED = (METRICS, TIMINGS, EVALUATIONS, COMPLETIONS)
STATUS = "status.json"
SCORER_FAILURE = "scorer_failure.json"
RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"
"""How a run is going on, or ended, as its `status.json` says."""
FORMAT = 2
"""Of `run.json`; the first had neither lengths nor contents."""

Row = dict[str, Any]


def kept_file(run_dir: Path, step: int) -> Path:
    """Where the checkpoint after `step` completed train steps is, if it is kept.

    That of step 0 is a fork's: the checkpoint of its source that it has started from.
    """
    return run_dir / CHECKPOINT.parent / f"step-{step}.ckpt"


def kept_step(file: Path) -> int | None:
    """The steps after which a checkpoint is kept; None for one by another name."""
    found = re.fullmatch(r"step-(\d+)\.ckpt", file.name)
    return int(found[1]) if found else None


def read_status(path: Path) -> dict[str, object]:
    """The `status.json` of a run directory; empty where there is none that can be read."""
    try:
        return of_status(read_json(path / STATUS), (RUNNING, FINISHED, FAILED, INTERRUPTED))
    except (OSError, ValueError):
        return {}


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a JSON lines file; none if it does not exist. A half-written last line is skipped.

    Raises ConfigError, naming file and line, where any other line is not such a row: see `shapes`.
    """
    return [row for _, row in lines(Path(path))]


def lines(path: Path) -> Iterator[tuple[bytes, Row]]:
    """The lines of such a file, each with its row."""
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
        if trouble := misfit(path.name, row) or no_number(path.name, row):
            raise ConfigError(f"{path}, line {number}: {trouble}; {MEND}")
        yield line, row
