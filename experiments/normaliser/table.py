"""runs.csv -> the table of the study.

python -m chord.compare outputs/normaliser/{exact,wrong_1,wrong_8} \\
  --out outputs/normaliser/comparison --no-page
cp outputs/normaliser/comparison/runs.csv experiments/normaliser/
python experiments/normaliser/table.py
"""

from __future__ import annotations

import csv
from pathlib import Path

from chord.compare.statistics import holm, paired_difference, t_interval
from chord.compare.terminal import estimate_text

TABLE = Path(__file__).parent / "runs.csv"
PRESETS = ("sft", "rl", "chord_mu")
VARIANTS = {"64": "all tokens of the step", "8": "own tokens, 8 rows", "1": "own tokens, 1 row"}
COLUMNS = {
    "test/target_accuracy": "target greedy",
    "test/target_mean4": "target mean@4",
    "test/retained/mean": "retained mean",
    "test/expert_style": "expert's manner",
}


def main() -> None:
    """Means, and the paired differences to the right normaliser with Holm's p."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    print("| preset | divided by | " + " | ".join(COLUMNS.values()) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    differences = []
    for preset in PRESETS:
        values = {size: scores(rows, preset, size) for size in VARIANTS}
        for size, name in VARIANTS.items():
            cells = [
                estimate_text(t_interval(list(by_seed.values())), column)
                for column, by_seed in values[size].items()
            ]
            print(f"| `{preset}` | {name} | " + " | ".join(cells) + " |")
        for size in ("8", "1"):
            for column in COLUMNS:
                found = paired_difference(values[size][column], values["64"][column])
                differences.append((preset, VARIANTS[size], COLUMNS[column], found))
    corrected = holm([found[1] for *_, found in differences if found is not None])
    print()
    for (preset, name, column, found), p in zip(differences, corrected, strict=True):
        assert found is not None
        half = found[0].high - found[0].mean
        print(
            f"{preset}, {name}, {column}: {100 * found[0].mean:+.1f} ± {100 * half:.1f}, p {p:.3f}"
        )


def scores(rows: list[dict[str, str]], preset: str, size: str) -> dict[str, dict[int, float]]:
    """Each column's value by seed."""
    found = [
        row
        for row in rows
        if row["choice/experiment"] == preset and row["setting/trainer.micro_batch"] == size
    ]
    return {column: {int(row["seed"]): float(row[column]) for row in found} for column in COLUMNS}


if __name__ == "__main__":
    main()
