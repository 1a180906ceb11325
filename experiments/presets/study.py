"""The five presets on the test bed: one grid for all on validation, then the test split once.

    python experiments/presets/study.py tune      # the grid, tuning seeds, validation only
    python experiments/presets/study.py report    # the chosen settings, reporting seeds, test split
    python experiments/presets/study.py table     # runs.csv -> the tables and the figure

Each run is `python -m chord.train` with a directory of its own under outputs/presets/: what is
finished is not run again, what was interrupted is resumed. Two runs at a time, a thread each.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RUNS = ROOT / "outputs" / "presets"
TABLE = HERE / "runs.csv"

PRESETS = ("sft", "rl", "sft_then_rl", "chord_mu", "chord_phi")
LEARNING_RATES = (1e-4, 3e-4, 6e-4, 1e-3)
STEPS = (60, 120)
TUNING_SEEDS = (100,)
REPORTING_SEEDS = (0, 1, 2, 3, 4)
JOBS = 2
# Student's t, 97.5 %, by degrees of freedom: seeds - 1.
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Job:
    """One run: a preset with a learning rate, a length and a seed, scored on a split."""

    preset: str
    lr: float
    steps: int
    seed: int
    split: str

    @property
    def directory(self) -> Path:
        return RUNS / self.split / f"{self.preset}_lr{self.lr:g}_steps{self.steps}_seed{self.seed}"

    @property
    def overrides(self) -> list[str]:
        evaluation = ["evaluation=selection"] if self.split == "val" else []
        return [
            f"experiment={self.preset}",
            f"optimizer.lr={self.lr:g}",
            f"steps={self.steps}",
            f"seed={self.seed}",
            *evaluation,
        ]

    def result(self) -> dict[str, float] | None:
        """The final evaluation of the trained model, None while there is none."""
        rows = read(self.directory / "evaluations.jsonl")
        for row in rows:
            final = row["split"] == self.split and row["model"] == "trained"
            if final and row["step"] == self.steps:
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
        metrics = read(self.directory / "metrics.jsonl")
        timings = read(self.directory / "timings.jsonl")
        return {
            "split": self.split,
            "preset": self.preset,
            "lr": self.lr,
            "steps": self.steps,
            "seed": self.seed,
            **{key: round(value, 5) for key, value in result.items()},
            "sft_tokens": round(sum(row.get("tokens/sft", 0) for row in metrics)),
            "rl_tokens": round(sum(row.get("tokens/rl", 0) for row in metrics)),
            "train_seconds": round(sum(row["seconds/step"] for row in timings), 1),
        }


def read(path: Path) -> list[dict[str, float]]:
    """Rows of a JSON lines file; none if it does not exist or its last line is not whole."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def tuning_jobs() -> list[Job]:
    """The same grid for every preset."""
    grid = itertools.product(TUNING_SEEDS, STEPS, LEARNING_RATES, PRESETS)
    return [Job(preset, lr, steps, seed, "val") for seed, steps, lr, preset in grid]


def score(result: dict[str, float]) -> float:
    """What the grid selects by: a point of the target counts as much as one of retained skills."""
    return result["target_accuracy"] + result["retained/mean"]


def write_base(job: Job) -> None:
    """base.csv: the model every run starts from, as the job's own report on test has it."""
    row = next(r for r in read(job.directory / "evaluations.jsonl") if r["model"] == "base")
    values = {k.removeprefix("test/"): v for k, v in row.items() if k.startswith("test/")}
    with (HERE / "base.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(values), lineterminator="\n")
        writer.writeheader()
        writer.writerow({key: round(value, 5) for key, value in values.items()})


def chosen() -> dict[str, Job]:
    """For each preset the settings with the best mean score over the tuning seeds."""
    best: dict[str, Job] = {}
    for preset in PRESETS:
        by_setting: dict[tuple[float, int], list[float]] = {}
        for job in tuning_jobs():
            result = job.result()
            if job.preset == preset and result is not None:
                by_setting.setdefault((job.lr, job.steps), []).append(score(result))
        lr, steps = max(by_setting, key=lambda setting: statistics.mean(by_setting[setting]))
        best[preset] = Job(preset, lr, steps, REPORTING_SEEDS[0], "test")
    return best


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
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{100 * mean:.1f}"
    half = T975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


def write_table() -> None:
    """Write runs.csv from the run directories, where there are any, and print both tables."""
    jobs = [job for job in tuning_jobs() if job.result() is not None]
    if jobs:
        reported = [job for job in reporting_jobs() if job.result() is not None]
        if reported:
            write_base(reported[0])
        rows = [job.row() for job in (*jobs, *reported)]
        with TABLE.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    with TABLE.open() as file:
        table = list(csv.DictReader(file))
    print_grid([row for row in table if row["split"] == "val"])
    print_report([row for row in table if row["split"] == "test"])


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
    for preset in PRESETS:
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
    parser.add_argument("what", choices=("tune", "report", "table"))
    what = parser.parse_args().what
    if what == "tune":
        run_all(tuning_jobs())
    elif what == "report":
        run_all(reporting_jobs())
    write_table()


if __name__ == "__main__":
    main()
