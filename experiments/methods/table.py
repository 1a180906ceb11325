"""runs.csv -> the tables of the study.

python -m chord.compare outputs/methods/{presets,halves} --out outputs/methods/comparison --no-page
cp outputs/methods/comparison/runs.csv experiments/methods/
python -m experiments.methods.table
"""

from __future__ import annotations

from pathlib import Path

from experiments.tables import (
    SCORES,
    costs,
    differences,
    grouped,
    markdown,
    means,
    read,
)

TABLE = Path(__file__).parent / "runs.csv"
COLUMNS = {score: name for score, name in SCORES.items() if score != "test/retained/min"}
BASELINE = "sft_then_rl"
LED_BY_RL = ("luffy", "prefix_rft", "relift", "rl_plus")


def main() -> None:
    """Means over the seeds: scores, tokens that a loss was computed over, seconds; differences."""
    found = grouped(read(TABLE), lambda row: row["choice/experiment"])
    presets = dict(sorted(found.items()))
    markdown(
        ["preset", *COLUMNS.values(), "tokens SFT / RL", "seconds"],
        [[f"`{name}`", *means(rows, COLUMNS), *costs(rows)] for name, rows in presets.items()],
    )
    differences(presets, BASELINE)
    differences(presets, "rl", names=LED_BY_RL)


if __name__ == "__main__":
    main()
