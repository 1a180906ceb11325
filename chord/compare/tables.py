"""Writes runs.csv, groups.csv and left_out.csv, and optionally the first two as Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from chord.compare.model import Comparison, Run, RunGroup
from chord.errors import ConfigError
from chord.io.extras import install

# Spreadsheets read a cell as a formula if it starts with one of these, possibly after white space.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")

Cells = Mapping[str, object]


def write_tables(comparison: Comparison, out: Path, *, parquet: bool = False) -> list[Path]:
    """Write the tables into `out` and return their paths.

    Raises ConfigError, before anything is written, if `parquet` needs pyarrow and it is missing.
    """
    tables: dict[str, Sequence[Cells]] = {
        "runs": run_rows(comparison),
        "groups": group_rows(comparison),
        "left_out": [{"what": e.what, "reason": e.reason} for e in comparison.left_out],
    }
    if parquet:
        _need_pyarrow()
    written = []
    for name, rows in tables.items():
        path = out / f"{name}.csv"
        _write_csv(path, rows, ("what", "reason") if name == "left_out" else ())
        written.append(path)
        if parquet and rows and name != "left_out":
            written.append(_write_parquet(out / f"{name}.parquet", rows))
    return written


def run_rows(comparison: Comparison) -> list[Cells]:
    """Return one row per run: identity, final scores, best validation and all settings.

    Runs without a group come last, with their status and error. Settings that are the same in all
    runs are included, so that the table documents how its numbers were made.
    """
    rows = [_run_row(run, group.label) for group in comparison.groups for run in group.runs]
    return [*rows, *(_run_row(run, "") for run in comparison.unfinished)]


def group_rows(comparison: Comparison) -> list[Cells]:
    """Return one row per group and metric: estimate and difference to the baseline."""
    return [
        _group_row(comparison, group, metric)
        for group in comparison.groups
        for metric in comparison.metrics
        if metric in group.final
    ]


def guarded(cell: object) -> object:
    """Prefix text that a spreadsheet would evaluate with a quote; leave numbers as they are.

    `=1+1` becomes `'=1+1`, -0.5 stays -0.5, and NaN becomes an empty cell.
    """
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    if isinstance(cell, str) and (cell.startswith(FORMULA) or cell.lstrip().startswith(FORMULA)):
        return "'" + cell
    return cell


def _run_row(run: Run, group: str) -> Cells:
    return {
        "group": group,
        "name": run.name,
        "path": run.path,
        "seed": run.seed,
        "status": run.status,
        "error": run.error or "",
        "steps": run.steps,
        "planned_steps": run.planned_steps,
        "seconds": run.seconds,
        **{f"tokens/{branch}": count for branch, count in run.tokens.items()},
        **run.final,
        **{f"base/{name}": value for name, value in run.base.items()},
        "best_step": run.best_step,
        **{f"best/{name}": value for name, value in run.best.items()},
        **{f"choice/{name}": value for name, value in run.choices.items()},
        **{f"setting/{name}": _plain(value) for name, value in run.settings.items()},
    }


def _group_row(comparison: Comparison, group: RunGroup, metric: str) -> Cells:
    final, best = group.final[metric], group.best.get(metric)
    difference = group.differences.get(metric)
    tested = difference is not None and difference.estimate.n > 1
    return {
        "group": group.label,
        "metric": metric,
        "seeds": final.n,
        "mean": final.mean,
        "low": final.low if final.n > 1 else math.nan,
        "high": final.high if final.n > 1 else math.nan,
        "baseline": comparison.baseline or "",
        "pairs": difference.estimate.n if difference else 0,
        "difference": difference.estimate.mean if difference else math.nan,
        "difference_low": difference.estimate.low if difference and tested else math.nan,
        "difference_high": difference.estimate.high if difference and tested else math.nan,
        "p": difference.p if difference else math.nan,
        "p_holm": difference.p_holm if difference else math.nan,
        "best_validation": best.mean if best else math.nan,
        "seconds": group.seconds.mean if group.seconds else math.nan,
        **{f"tokens/{branch}": count for branch, count in group.tokens.items()},
        "missing_seeds": " ".join(map(str, group.missing)),
        **{f"varied/{name}": _plain(value) for name, value in group.varied.items()},
    }


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _header(rows: Sequence[Cells]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _write_csv(path: Path, rows: Sequence[Cells], header: Sequence[str]) -> None:
    names = _header(rows) or list(header)
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([guarded(name) for name in names])
        writer.writerows([guarded(row.get(name, "")) for name in names] for row in rows)


def _need_pyarrow() -> None:
    try:
        # Here and below: an optional package.
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"--parquet: needs pyarrow, which is not installed; {install('parquet')}"
        ) from None


def _write_parquet(path: Path, rows: Sequence[Cells]) -> Path:
    """Write rows as Parquet; a column of mixed types (`null`, 1, `auto`) becomes text."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: _column([row.get(name) for row in rows]) for name in _header(rows)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def _column(values: Sequence[object]) -> list[object]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return [float(v) if isinstance(v, int) and kinds == {int, float} else v for v in values]
    return [None if value is None else str(value) for value in values]
