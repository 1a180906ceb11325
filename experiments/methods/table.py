"""runs.csv -> the table of the study.

python -m chord.compare outputs/methods --no-page
cp outputs/methods/comparison/runs.csv experiments/methods/
python experiments/methods/table.py
"""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

from chord.compare.statistics import t_interval
from chord.compare.terminal import estimate_text

TABLE = Path(__file__).parent / "runs.csv"
COLUMNS = {
    "test/target_accuracy": "target greedy",
    "test/target_mean4": "target mean@4",
    "test/retained/mean": "retained mean",
    "test/expert_style": "expert's manner",
}


def main() -> None:
    """Means over the seeds: scores, tokens that a loss was taken over, seconds."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    names = [*COLUMNS.values(), "tokens SFT / RL", "seconds"]
    print("| preset | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for preset in sorted({row["choice/experiment"] for row in rows}):
        own = [row for row in rows if row["choice/experiment"] == preset]
        cells = [estimate_text(t_interval(values(own, column)), column) for column in COLUMNS]
        tokens = [statistics.mean(values(own, f"tokens/{branch}")) for branch in ("sft", "rl")]
        cells.append(" / ".join(f"{count / 1000:.0f}k" for count in tokens))
        cells.append(f"{statistics.mean(values(own, 'seconds')):.0f}")
        print(f"| `{preset}` | " + " | ".join(cells) + " |")


def values(rows: list[dict[str, str]], column: str) -> list[float]:
    """A column's numbers; a branch that never ran has no tokens."""
    return [float(row[column] or 0) for row in rows]


if __name__ == "__main__":
    main()
