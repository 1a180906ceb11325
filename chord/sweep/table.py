"""A sweep at a glance: every job with what differs, how it ended, and its validation metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chord.io.reading import printable
from chord.run.files import FAILED, FINISHED, INTERRUPTED, RUNNING, read_status
from chord.run.status import stored_metric
from chord.sweep.equal_runs import name_of
from chord.sweep.points import Point

STYLES = {FINISHED: "green", FAILED: "red", INTERRUPTED: "yellow", RUNNING: "yellow"}
COLUMNS = 5  # settings that have a column each; more of them share one
NOT_STARTED = "not started"


def status_of(path: Path) -> str:
    """How a job's run ended, as its directory says."""
    return str(read_status(path).get("status", NOT_STARTED))


def status_table(
    sweep: Path, points: Sequence[Point], metric: str, notes: Mapping[int, str]
) -> Table:
    """One row for each job; `notes` say of some, by number, why they were not run now."""
    names = list(dict.fromkeys(name for point in points for name in point.varied))
    table = Table(box=HORIZONTALS, title=printable(f"Sweep {name_of(sweep)}"), title_justify="left")
    table.add_column("job", justify="right")
    narrow = len(names) <= COLUMNS
    for name in names if narrow else ["settings"]:
        table.add_column(name, overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column(metric, justify="right")
    remarks = {point.number: _remark(sweep / point.directory, point, notes) for point in points}
    if any(remarks.values()):
        table.add_column("", overflow="fold", ratio=1)
    for point in points:
        path = sweep / point.directory
        status, value = status_of(path), stored_metric(path, metric)
        cells = [point.varied.get(name, "") for name in names] if narrow else [point.label]
        row = [str(point.number), *cells]
        texts = [Text(printable(cell)) for cell in row]
        texts.append(Text(printable(status), style=STYLES.get(status, "dim")))
        texts.append(Text("" if value is None or status != FINISHED else f"{value:.4f}"))
        table.add_row(
            *texts, *([Text(printable(remarks[point.number]))] if any(remarks.values()) else [])
        )
    return table


def _remark(path: Path, point: Point, notes: Mapping[int, str]) -> str:
    error = read_status(path).get("error")
    return str(error) if error else notes.get(point.number, "")


def print_table(
    sweep: Path, points: Sequence[Point], metric: str, notes: Mapping[int, str]
) -> None:
    """Print the table, as wide as it needs to be where nobody sets a width."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(status_table(sweep, points, metric, notes))
