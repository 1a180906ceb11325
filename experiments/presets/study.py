"""The five presets on the test bed: one grid for all on validation, then the test split once.

    python experiments/presets/study.py tune      # the grid, tuning seeds, validation only
    python experiments/presets/study.py report    # the chosen settings, reporting seeds, test split
    python experiments/presets/study.py bases     # the chosen settings from two other bases
    python experiments/presets/study.py table     # the csv files -> the tables

Each run is `python -m chord.train` with a directory of its own under outputs/presets/: what is
finished is not run again, what was interrupted is resumed. Two runs at a time, a thread each.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chord.compare.statistics import t_interval
from chord.recorder import read_rows

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RUNS = ROOT / "outputs" / "presets"
TABLE = HERE / "runs.csv"
BASES_TABLE = HERE / "bases.csv"

PRESETS = ("sft", "rl", "sft_then_rl", "chord_mu", "chord_phi")
LEARNING_RATES = (1e-4, 3e-4, 6e-4, 1e-3)
STEPS = (60, 120)
TUNING_SEEDS = (100,)
REPORTING_SEEDS = (0, 1, 2, 3, 4)
OTHER_BASES = (1, 2)
SEEDS_OF_OTHER_BASES = (0, 1, 2)
JOBS = 2


@dataclass(frozen=True)
class Job:
    """One run: a preset with a learning rate, a length and a seed, scored on a split.

    `base` is the pre-training seed of the model that it starts from.
    """

    preset: str
    lr: float
    steps: int
    seed: int
    split: str
    base: int = 0

    @property
    def directory(self) -> Path:
        start = f"_base{self.base}" if self.base else ""
        setting = f"{self.preset}_lr{self.lr:g}_steps{self.steps}_seed{self.seed}"
        return RUNS / self.split / (setting + start)

    @property
    def overrides(self) -> list[str]:
        evaluation = ["evaluation=selection"] if self.split == "val" else []
        return [
            f"experiment={self.preset}",
            f"optimizer.lr={self.lr:g}",
            f"steps={self.steps}",
            f"seed={self.seed}",
            f"model.pretraining_seed={self.base}",
            *evaluation,
        ]

    def result(self, model: str = "trained") -> dict[str, float] | None:
        """The final evaluation of the trained model or of its base, None while there is none."""
        for row in read_rows(self.directory / "evaluations.jsonl"):
            final = row["split"] == self.split and row["model"] == model
            if final and (model == "base" or row["step"] == self.steps):
                prefix = f"{self.split}/"
                return {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
        return None

    def run(self) -> None:
        """Train, or go on where an earlier call was stopped."""
        if self.result() is not None:
            return
        if (self.directory / "run.json").exists():
            arguments = [f"resume={self.directory}"]
        else:
            arguments = [*self.overrides, "tracking=off", f"hydra.run.dir={self.directory}"]
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "console.txt").open("w") as console:
            subprocess.run(
                [sys.executable, "-m", "chord.train", *arguments],
                check=True,
                stdout=console,
                stderr=console,
                cwd=ROOT,
            )
        print(f"{self.split} {' '.join(self.overrides)}: {self.result()}", flush=True)

    def row(self) -> dict[str, object]:
        """One line of runs.csv."""
        result = self.result()
        assert result is not None, f"{self.directory} is not finished"
        metrics = read_rows(self.directory / "metrics.jsonl")
        timings = read_rows(self.directory / "timings.jsonl")
        return {
            "split": self.split,
            "preset": self.preset,
            "lr": self.lr,
            "steps": self.steps,
            "seed": self.seed,
            "base": self.base,
            **{key: round(value, 5) for key, value in result.items()},
            "sft_tokens": round(sum(row.get("tokens/sft", 0) for row in metrics)),
            "rl_tokens": round(sum(row.get("tokens/rl", 0) for row in metrics)),
            "train_seconds": round(sum(row["seconds/step"] for row in timings), 1),
        }


def tuning_jobs() -> list[Job]:
    """The same grid for every preset."""
    grid = itertools.product(TUNING_SEEDS, STEPS, LEARNING_RATES, PRESETS)
    return [Job(preset, lr, steps, seed, "val") for seed, steps, lr, preset in grid]


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a csv file; the columns are those of the first row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def base_row(job: Job) -> dict[str, float]:
    """The model that a run starts from, as the run's own report has it."""
    scores = job.result("base")
    assert scores is not None, f"{job.directory} has not scored its base"
    return {key: round(value, 5) for key, value in scores.items()}


def chosen() -> dict[str, Job]:
    """For each preset the settings with the best mean score over the tuning seeds of runs.csv."""
    scores: dict[tuple[str, float, int], list[float]] = {}
    for row in read_table(TABLE):
        if row["split"] == "val":
            setting = row["preset"], float(row["lr"]), int(row["steps"])
            scores.setdefault(setting, []).append(
                float(row["target_accuracy"]) + float(row["retained/mean"])
            )
    best = sorted(scores, key=lambda setting: statistics.mean(scores[setting]))
    return {
        preset: Job(preset, lr, steps, REPORTING_SEEDS[0], "test") for preset, lr, steps in best
    }


def reporting_jobs() -> list[Job]:
    """The chosen settings of each preset with every reporting seed."""
    best = chosen()
    return [
        Job(preset, best[preset].lr, best[preset].steps, seed, "test")
        for seed, preset in itertools.product(REPORTING_SEEDS, PRESETS)
    ]


def run_all(jobs: list[Job]) -> None:
    """Two at a time; the first failure is raised at the end, after the others."""
    with ThreadPoolExecutor(JOBS) as pool:
        done = [pool.submit(job.run) for job in jobs]
    for future in done:
        future.result()


def interval(values: list[float]) -> str:
    """Mean and 95 % interval (t over seeds) of shares, in per cent."""
    found = t_interval(values)
    half = f" ± {100 * (found.high - found.mean):.1f}" if found.n > 1 else ""
    return f"{100 * found.mean:.1f}{half}"


def other_bases_jobs() -> list[Job]:
    """The settings chosen with the first base, from two others: nothing is tuned to them."""
    best = chosen()
    return [
        Job(preset, best[preset].lr, best[preset].steps, seed, "test", base)
        for base, seed, preset in itertools.product(OTHER_BASES, SEEDS_OF_OTHER_BASES, PRESETS)
    ]


def finished(jobs: list[Job]) -> list[Job]:
    """Those that have a result."""
    return [job for job in jobs if job.result() is not None]


def write_table() -> None:
    """Write the csv files from the run directories, where there are any, and print the tables."""
    tuned = [job.row() for job in finished(tuning_jobs())]
    if tuned:
        write_rows(TABLE, tuned)
        reported = finished(reporting_jobs())
        if reported:
            write_rows(HERE / "base.csv", [base_row(reported[0])])
            write_rows(TABLE, [*tuned, *(job.row() for job in reported)])
    if TABLE.exists() and (others := finished(other_bases_jobs())):
        firsts = {job.base: job for job in reversed(others)}
        untrained = dict.fromkeys(("lr", "steps", "sft_tokens", "rl_tokens", "train_seconds"), 0)
        starts = [
            {**job.row(), "preset": "base", **untrained, **base_row(job)}
            for _, job in sorted(firsts.items())
        ]
        write_rows(BASES_TABLE, [*starts, *(job.row() for job in others)])
    table = read_table(TABLE)
    print_grid([row for row in table if row["split"] == "val"])
    print_report([row for row in table if row["split"] == "test"])
    if BASES_TABLE.exists():
        for base in OTHER_BASES:
            print(f"\npretraining_seed={base}\n")
            print_report([row for row in read_table(BASES_TABLE) if row["base"] == str(base)])


def print_grid(rows: list[dict[str, str]]) -> None:
    """Validation: target / retained of every point of the grid."""
    points = sorted({(int(row["steps"]), float(row["lr"])) for row in rows})
    print("| preset | " + " | ".join(f"{steps} steps, {lr:g}" for steps, lr in points) + " |")
    print("|---|" + "---|" * len(points))
    for preset in PRESETS:
        cells = []
        for steps, lr in points:
            found = [
                row
                for row in rows
                if row["preset"] == preset and int(row["steps"]) == steps and float(row["lr"]) == lr
            ]
            pair = [
                100 * statistics.mean(float(row[key]) for row in found) if found else math.nan
                for key in ("target_accuracy", "retained/mean")
            ]
            cells.append(f"{pair[0]:.1f} / {pair[1]:.1f}")
        print(f"| {preset} | " + " | ".join(cells) + " |")
    print()


def print_report(rows: list[dict[str, str]]) -> None:
    """Test: mean and 95 % interval over the reporting seeds."""
    columns = ("target_accuracy", "target_mean4", "retained/mean", "retained/min", "expert_style")
    names = ("target greedy", "target mean@4", "retained mean", "retained min", "expert's manner")
    print("| preset | lr | steps | seeds | " + " | ".join(names) + " | tokens SFT / RL | seconds |")
    print("|---|---|---|---|" + "---|" * (len(names) + 2))
    for preset in ("base", *PRESETS):
        found = [row for row in rows if row["preset"] == preset]
        if not found:
            continue
        cells = [interval([float(row[column]) for row in found]) for column in columns]
        tokens = [
            f"{statistics.mean(float(row[key]) for row in found) / 1000:.0f}k"
            for key in ("sft_tokens", "rl_tokens")
        ]
        seconds = statistics.mean(float(row["train_seconds"]) for row in found)
        print(
            f"| {preset} | {float(found[0]['lr']):g} | {found[0]['steps']} | {len(found)} | "
            + " | ".join(cells)
            + f" | {' / '.join(tokens)} | {seconds:.0f} |"
        )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("tune", "report", "bases", "table"))
    what = parser.parse_args().what
    if what == "tune":
        run_all(tuning_jobs())
    elif what == "report":
        run_all(reporting_jobs())
    elif what == "bases":
        run_all(other_bases_jobs())
    write_table()


if __name__ == "__main__":
    main()
