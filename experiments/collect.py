"""Collect finished runs into a study's tables: runs.csv, and curves.csv of the scores over time.

    python -m experiments.collect experiments/overfitting outputs/overfitting \
      --curve val/target_accuracy

A run's row has its final scores, tokens and seconds, the mean over train steps of each `--mean`
metric (`weight/mean`), and those settings that are not the same in all rows. Unfinished runs are
left out, and the reason is printed.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from chord.compare.finding import find_runs
from chord.compare.grouping import compare
from chord.compare.model import Comparison, Run
from chord.compare.reading import read_runs
from chord.compare.tables import run_rows
from chord.run.files import EVALUATIONS, METRICS, read_rows

ALWAYS = ("path", "choice/experiment", "setting/optimizer.lr", "seed", "steps", "seconds")
CHOICES = ("choice/schedule", "choice/weighting")
SCORES = ("tokens/", "val/", "test/")
BASE = (
    "target_accuracy",
    "target_mean4",
    "expert_style",
    "entropy",
    "retained/mean",
    "retained/min",
)
# On the test bed, whose verifier knows only right and wrong, these repeat other columns.
REPEATED = ("rl_reward", "balance", "balance_at_0.5")
# A setting that changes how a run is measured, not the run itself.
MEASURES = ("setting/evaluation",)


def main() -> None:
    """Read the directories, write the tables, print what was left out."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("study", type=Path, help="directory for the tables")
    options.add_argument("paths", type=Path, nargs="+", help="directories of sweeps")
    options.add_argument("--curve", action="append", default=[], help="a score for curves.csv")
    options.add_argument("--mean", action="append", default=[], help="a metric to average")
    given = options.parse_args()
    comparison = read(given.paths)
    rows = [{**row, **means(str(row["path"]), given.mean)} for row in table(comparison)]
    write(given.study / "runs.csv", rows)
    if given.curve:
        runs = [run for group in comparison.groups for run in group.runs]
        followed = [row for run in runs for row in curves(run, given.curve)]
        write(given.study / "curves.csv", followed)
    for note in comparison.notes:
        print(note)
    for left in comparison.left_out:
        print(f"{left.what}: {left.reason}")
    seconds = sum(run.seconds for group in comparison.groups for run in group.runs)
    print(f"{len(rows)} runs, {seconds / 3600:.2f} hours in train steps")


def read(paths: Sequence[Path]) -> Comparison:
    """Compare all runs below `paths`."""
    found = find_runs(paths)
    runs, left_out = read_runs(found.runs)
    return compare(runs, [*left_out, *found.missing])


def table(comparison: Comparison) -> list[Mapping[str, object]]:
    """A row for each finished run, and the columns that carry information."""
    rows = [row for row in run_rows(comparison) if row["group"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    kept = [
        name
        for name in names
        if name in ALWAYS
        or (name.startswith(SCORES) and name.partition("/")[2] not in REPEATED)
        or (name.startswith("base/") and name.split("/", 2)[2] in BASE)
    ]
    kept += [
        name
        for name in names
        if (name in CHOICES or name.startswith("setting/"))
        and not name.startswith(MEASURES)
        and len({repr(row.get(name)) for row in rows}) > 1
    ]
    return [{name: _short(row.get(name, "")) for name in kept} for row in rows]


def curves(run: Run, names: Sequence[str]) -> list[Mapping[str, object]]:
    """Return a row for each step at which a run was validated."""
    rows = read_rows(Path(run.path) / EVALUATIONS)
    by_step = {row["step"]: row for row in rows if row["split"] == "val"}
    return [
        {
            "path": run.path,
            "step": step,
            **{name: _short(by_step[step].get(name, "")) for name in names},
        }
        for step in sorted(by_step)
    ]


def means(path: str, names: Sequence[str]) -> Mapping[str, object]:
    """Return the mean of each metric over a run's train steps; steps without it do not count."""
    steps = read_rows(Path(path) / METRICS) if names else []
    found = {name: [step[name] for step in steps if name in step] for name in names}
    return {name: _short(statistics.mean(each)) if each else "" for name, each in found.items()}


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _short(value: object) -> object:
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
