"""Every preset on the test bed, as it comes: a smoke comparison, nothing tuned.

    python experiments/methods/compare.py run      # every preset, three seeds, test split
    python experiments/methods/compare.py table    # runs.csv -> the table of the README

Each run is `python -m chord.train` with a directory of its own under outputs/methods/: what is
finished is not run again, what was interrupted is resumed. Two runs at a time, a thread each.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chord.compare.statistics import t_interval
from chord.recorder import read_rows

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RUNS = ROOT / "outputs" / "methods"
TABLE = HERE / "runs.csv"

PRESETS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
PRESETS.remove("smoke")
SEEDS = (0, 1, 2)
STEPS = 120
COLUMNS = {
    "target_accuracy": "target greedy",
    "target_mean4": "target mean@4",
    "retained/mean": "retained mean",
    "expert_style": "expert's manner",
}


def directory(preset: str, seed: int) -> Path:
    """Where a run lies."""
    return RUNS / f"{preset}_seed{seed}"


def result(preset: str, seed: int) -> dict[str, object] | None:
    """The run's line of runs.csv, None while it is not finished."""
    path = directory(preset, seed)
    final = [
        row
        for row in read_rows(path / "evaluations.jsonl")
        if row["split"] == "test" and row["model"] == "trained" and row["step"] == STEPS
    ]
    if not final:
        return None
    metrics, timings = read_rows(path / "metrics.jsonl"), read_rows(path / "timings.jsonl")
    return {
        "preset": preset,
        "seed": seed,
        **{name: round(final[-1][f"test/{name}"], 5) for name in COLUMNS},
        "sft_tokens": round(sum(row.get("tokens/sft", 0) for row in metrics)),
        "rl_tokens": round(sum(row.get("tokens/rl", 0) for row in metrics)),
        "train_seconds": round(sum(row["seconds/step"] for row in timings), 1),
    }


def run(preset: str, seed: int) -> None:
    """Train, or go on where an earlier call was stopped."""
    if result(preset, seed) is not None:
        return
    path = directory(preset, seed)
    new = [f"experiment={preset}", f"seed={seed}", f"steps={STEPS}", "tracking=off"]
    resumed = (path / "run.json").exists()
    arguments = [f"resume={path}"] if resumed else [*new, f"hydra.run.dir={path}"]
    path.mkdir(parents=True, exist_ok=True)
    with (path / "console.txt").open("w") as console:
        subprocess.run(
            [sys.executable, "-m", "chord.train", *arguments],
            check=True,
            stdout=console,
            stderr=console,
            cwd=ROOT,
        )
    print(result(preset, seed), flush=True)


def run_all() -> None:
    """Two at a time; the first failure is raised at the end, after the others."""
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(run, preset, seed) for seed, preset in itertools.product(SEEDS, PRESETS)
        ]
    for future in done:
        future.result()


def write_table() -> None:
    """Write runs.csv from the run directories, where there are any, and print its table."""
    found = [result(preset, seed) for preset, seed in itertools.product(PRESETS, SEEDS)]
    finished = [row for row in found if row is not None]
    if finished:
        with TABLE.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(finished[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(finished)
    with TABLE.open() as file:
        table = list(csv.DictReader(file))
    names = [*COLUMNS.values(), "tokens SFT / RL", "seconds"]
    print("| preset | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for preset in PRESETS:
        own = [row for row in table if row["preset"] == preset]
        cells = [interval([100 * float(row[column]) for row in own]) for column in COLUMNS]
        sft, rl = (mean(own, f"{branch}_tokens") / 1000 for branch in ("sft", "rl"))
        print(
            f"| `{preset}` | "
            + " | ".join(cells)
            + f" | {sft:.0f}k / {rl:.0f}k | {mean(own, 'train_seconds'):.0f} |"
        )


def mean(own: list[dict[str, str]], column: str) -> float:
    """Mean of a column over the seeds."""
    return statistics.mean(float(row[column]) for row in own)


def interval(values: list[float]) -> str:
    """Mean and 95 % interval (t over seeds)."""
    found = t_interval(values)
    return f"{found.mean:.1f} ± {found.high - found.mean:.1f}"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("run", "table"))
    if parser.parse_args().what == "run":
        run_all()
    write_table()


if __name__ == "__main__":
    main()
