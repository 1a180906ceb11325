"""runs.csv -> the table of the study.

python -m chord.compare outputs/normaliser/{exact,wrong_1,wrong_8} \\
  --out outputs/normaliser/comparison --no-page
cp outputs/normaliser/comparison/runs.csv experiments/normaliser/
python -m experiments.normaliser.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chord.evaluation.statistics import t_interval
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
    print(
        "\nCHORD-mu's lead over RL in mean@4, and how much the wrong normalisers add; p uncorrected"
    )
    right = lead(runs, "64")
    print(f"{VARIANTS['64']}: {signed(t_interval(list(right.values())))}")
    for found in corrected([(VARIANTS[size], lead(runs, size), right) for size in ("8", "1")]):
        print(f"{found.name}: {signed(found.estimate)}, p {found.p:.3f}")


def lead(runs: Mapping[tuple[str, str], Sequence[Row]], size: str) -> dict[int, float]:
    """CHORD-mu minus RL, by seed."""
    ours, theirs = (by_seed(runs[name, size], "test/target_mean4") for name in ("chord_mu", "rl"))
    return {seed: ours[seed] - theirs[seed] for seed in ours}


def cells(rows: Sequence[Row]) -> Mapping[tuple[str, str], Sequence[Row]]:
    """Runs by preset and size of the pieces."""
    return grouped(rows, lambda row: (row["choice/experiment"], row["setting/trainer.micro_batch"]))


if __name__ == "__main__":
    main()
