"""runs.csv and bases.csv -> the tables of the study.

python -m chord.compare outputs/presets/{tune,report} --out outputs/presets/comparison --no-page
python -m chord.compare outputs/presets/bases --no-page
cp outputs/presets/comparison/runs.csv experiments/presets/
cp outputs/presets/bases/comparison/runs.csv experiments/presets/bases.csv
python experiments/presets/table.py
"""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from chord.compare.statistics import t_interval
from chord.compare.terminal import estimate_text

HERE = Path(__file__).parent
PRESETS = ("sft", "rl", "sft_then_rl", "chord_mu", "chord_phi")
COLUMNS = {
    "test/target_accuracy": "target greedy",
    "test/target_mean4": "target mean@4",
    "test/retained/mean": "retained mean",
    "test/retained/min": "retained min",
    "test/expert_style": "expert's manner",
}

Rows = list[dict[str, str]]


def main() -> None:
    """The grid on validation with what it chooses, the test split, the two other bases."""
    rows = read(HERE / "runs.csv")
    print_grid([row for row in rows if not row["test/target_accuracy"]])
    print_report([row for row in rows if row["test/target_accuracy"]])
    bases = read(HERE / "bases.csv")
    for seed in sorted({row["setting/model.pretraining_seed"] for row in bases}):
        print_base(seed, [row for row in bases if row["setting/model.pretraining_seed"] == seed])


def read(path: Path) -> Rows:
    """The rows of a csv file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def print_grid(rows: Rows) -> None:
    """Target / retained of each preset's runs, then the setting with the largest sum."""
    points = sorted({setting(row) for row in rows})
    print_header("preset", *(f"{steps} steps, {lr:g}" for steps, lr in points))
    best = {}
    for preset in PRESETS:
        pairs = {
            setting(row): [
                100 * float(row[f"val/{key}"]) for key in ("target_accuracy", "retained/mean")
            ]
            for row in of(preset, rows)
        }
        best[preset] = max(pairs, key=lambda point: sum(pairs[point]))
        print_row(preset, *("{:.1f} / {:.1f}".format(*pairs[point]) for point in points))
    print()
    for preset, (steps, lr) in best.items():
        print(f"{preset}: {steps} steps, {lr:g}")


def print_report(rows: Rows) -> None:
    """Means over the seeds: scores, tokens that a loss was taken over, seconds."""
    print_header("preset", "lr", "steps", "seeds", *COLUMNS.values(), "tokens SFT / RL", "seconds")
    for preset in PRESETS:
        own = of(preset, rows)
        steps, lr = setting(own[0])
        tokens = [statistics.mean(values(own, f"tokens/{branch}")) for branch in ("sft", "rl")]
        print_row(
            preset,
            f"{lr:g}",
            str(steps),
            str(len(own)),
            *scores(own),
            " / ".join(f"{count / 1000:.0f}k" for count in tokens),
            f"{statistics.mean(values(own, 'seconds')):.0f}",
        )


def print_base(seed: str, rows: Rows) -> None:
    """A base's own scores, and what each preset makes of it."""
    print_header(f"`model.pretraining_seed={seed}`", *COLUMNS.values())
    print_row("base", *scores(rows[:1], "base/"))
    for preset in PRESETS:
        print_row(preset, *scores(of(preset, rows)))


def of(preset: str, rows: Rows) -> Rows:
    """A preset's runs."""
    return [row for row in rows if row["choice/experiment"] == preset]


def setting(row: dict[str, str]) -> tuple[int, float]:
    """Steps and learning rate."""
    return int(row["steps"]), float(row["setting/optimizer.lr"])


def scores(rows: Rows, prefix: str = "") -> list[str]:
    """Each score's mean and interval over the runs."""
    return [estimate_text(t_interval(values(rows, prefix + key)), key) for key in COLUMNS]


def values(rows: Rows, column: str) -> list[float]:
    """A column's numbers; a branch that never ran has no tokens."""
    return [float(row[column] or 0) for row in rows]


def print_header(*names: str) -> None:
    """The head of a table, a blank line before it."""
    print()
    print_row(*names)
    print("|" + "---|" * len(names))


def print_row(*cells: str) -> None:
    """A line of a table."""
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
