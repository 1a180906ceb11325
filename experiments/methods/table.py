"""runs.csv -> the table of the study.

python -m chord.compare outputs/methods/{presets,halves} --out outputs/methods/comparison --no-page
cp outputs/methods/comparison/runs.csv experiments/methods/
python -m experiments.methods.table
"""

from __future__ import annotations

from pathlib import Path

from experiments.tables import SCORES, costs, estimate, grouped, markdown, percent, read

TABLE = Path(__file__).parent / "runs.csv"
COLUMNS = {score: name for score, name in SCORES.items() if score != "test/retained/min"}


def main() -> None:
    """Means over the seeds: scores, tokens that a loss was taken over, seconds."""
    presets = grouped(read(TABLE), lambda row: row["choice/experiment"])
    markdown(
        ["preset", *COLUMNS.values(), "tokens SFT / RL", "seconds"],
        [
            [f"`{name}`", *(percent(estimate(rows, score)) for score in COLUMNS), *costs(rows)]
            for name, rows in sorted(presets.items())
        ],
    )


if __name__ == "__main__":
    main()
