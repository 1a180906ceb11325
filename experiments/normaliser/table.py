"""runs.csv -> the table of the study.

python -m chord.compare outputs/normaliser/{exact,wrong_1,wrong_8} \\
  --out outputs/normaliser/comparison --no-page
cp outputs/normaliser/comparison/runs.csv experiments/normaliser/
python -m experiments.normaliser.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.tables import (
    SCORES,
    Row,
    by_seed,
    corrected,
    estimate,
    grouped,
    markdown,
    percent,
    read,
    signed,
)

TABLE = Path(__file__).parent / "runs.csv"
PRESETS = ("sft", "rl", "chord_mu")
COLUMNS = {score: name for score, name in SCORES.items() if score != "test/retained/min"}
VARIANTS = {"64": "all tokens of the step", "8": "own tokens, 8 rows", "1": "own tokens, 1 row"}


def main() -> None:
    """Means, and the paired differences to the right normaliser with Holm's p."""
    runs = cells(read(TABLE))
    markdown(
        ["preset", "divided by", *COLUMNS.values()],
        [
            [f"`{preset}`", name, *(percent(estimate(runs[preset, size], c)) for c in COLUMNS)]
            for preset in PRESETS
            for size, name in VARIANTS.items()
        ],
    )
    pairs = [
        (
            f"{preset}, {VARIANTS[size]}, {name}",
            by_seed(runs[preset, size], score),
            by_seed(runs[preset, "64"], score),
        )
        for preset in PRESETS
        for size in ("8", "1")
        for score, name in COLUMNS.items()
    ]
    for found in corrected(pairs):
        print(f"{found.name}: {signed(found.estimate)}, p {found.p_holm:.3f}")


def cells(rows: Sequence[Row]) -> Mapping[tuple[str, str], Sequence[Row]]:
    """Runs by preset and size of the pieces."""
    return grouped(rows, lambda row: (row["choice/experiment"], row["setting/trainer.micro_batch"]))


if __name__ == "__main__":
    main()
