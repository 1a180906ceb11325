"""runs.csv and bases.csv -> the tables of the study.

python -m chord.compare outputs/presets/{tune,report}{,_halves} \\
  --out outputs/presets/comparison --no-page
python -m chord.compare outputs/presets/bases{,_halves} \\
  --out outputs/presets/bases_comparison --no-page
cp outputs/presets/comparison/runs.csv experiments/presets/
cp outputs/presets/bases_comparison/runs.csv experiments/presets/bases.csv
python -m experiments.presets.table
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.tables import (
    SCORES,
    Row,
    costs,
    differences,
    grouped,
    markdown,
    means,
    read,
)

HERE = Path(__file__).parent
PRESETS = ("sft", "rl", "sft_then_rl", "chord_mu", "chord_phi")
BASELINE = "sft_then_rl"


def main() -> None:
    """The validation grid with its choices, the test split, the two other bases."""
    rows = read(HERE / "runs.csv")
    grid([row for row in rows if not row["test/target_accuracy"]])
    report([row for row in rows if row["test/target_accuracy"]])
    bases = grouped(read(HERE / "bases.csv"), lambda row: row["setting/model.pretraining_seed"])
    for seed in sorted(bases):
        base(seed, bases[seed])


def grid(rows: Sequence[Row]) -> None:
    """Target / retained of each preset's runs, then the setting with the largest sum."""
    presets = grouped(rows, preset)
    points = sorted({setting(row) for row in rows})
    lines, best = [], {}
    for name in PRESETS:
        pairs = {
            setting(row): [
                100 * float(row[f"val/{key}"]) for key in ("target_accuracy", "retained/mean")
            ]
            for row in presets[name]
        }
        best[name] = max(pairs, key=lambda point: sum(pairs[point]))
        lines.append([name, *("{:.1f} / {:.1f}".format(*pairs[point]) for point in points)])
    markdown(["preset", *(f"{steps} steps, {lr:g}" for steps, lr in points)], lines)
    for name, (steps, lr) in best.items():
        print(f"{name}: {steps} steps, {lr:g}")
    print()


def report(rows: Sequence[Row]) -> None:
    """Means over the seeds: scores, tokens that a loss was computed over, seconds."""
    presets, lines = grouped(rows, preset), []
    for name in PRESETS:
        own = presets[name]
        steps, lr = setting(own[0])
        lines.append([name, f"{lr:g}", str(steps), str(len(own)), *means(own, SCORES), *costs(own)])
    header = ["preset", "lr", "steps", "seeds", *SCORES.values(), "tokens SFT / RL", "seconds"]
    markdown(header, lines)
    differences({name: presets[name] for name in PRESETS}, BASELINE)


def base(seed: str, rows: Sequence[Row]) -> None:
    """A base's own scores, the scores of each preset trained from it, and the differences."""
    presets = grouped(rows, preset)
    markdown(
        [f"`model.pretraining_seed={seed}`", *SCORES.values()],
        [
            ["base", *means(rows[:1], [f"base/{score}" for score in SCORES])],
            *([name, *means(presets[name], SCORES)] for name in PRESETS),
        ],
    )
    differences({name: presets[name] for name in PRESETS}, BASELINE)


def preset(row: Row) -> str:
    """A run's preset."""
    return row["choice/experiment"]


def setting(row: Row) -> tuple[int, float]:
    """Steps and learning rate."""
    return int(row["steps"]), float(row["setting/optimizer.lr"])


if __name__ == "__main__":
    main()
