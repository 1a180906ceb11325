"""runs.csv -> the tables of the study.

python -m experiments.collect experiments/shape_or_scale outputs/shape_or_scale --mean weight/mean
python -m experiments.shape_or_scale.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.tables import (
    COMPARED,
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
SCHEDULES = ("constant", "linear", "cosine", "chord_mu")
WEIGHTINGS = ("uniform", "phi", "importance", "entropy", "margin", "focal")
SCALES = ("none", "mean1")
PARTS = ("scale", "shape")
WEIGHT = "weight/mean"
Cells = Mapping[tuple[str, str, str], Sequence[Row]]


def main() -> None:
    """Every cell, and how much of a weighting is its shape and how much its scale."""
    found = cells(read(TABLE))
    for score in COMPARED:
        for scale in SCALES:
            print(f"{SCORES[score]}, normalize={scale}\n")
            table = [
                [
                    f"`{schedule}`",
                    *(percent(estimate(found[schedule, w, scale], score)) for w in WEIGHTINGS),
                ]
                for schedule in SCHEDULES
            ]
            markdown(["schedule", *(f"`{w}`" for w in WEIGHTINGS)], table)
    weights(found)
    spread(found)
    parts(found)


def cells(rows: Sequence[Row]) -> Cells:
    """Runs by schedule, weighting and normalisation."""
    return grouped(
        rows,
        lambda row: (
            row["choice/schedule"],
            row["choice/weighting"],
            row["setting/weighting.normalize"],
        ),
    )


def weights(found: Cells) -> None:
    """The mean weight of an expert token, without normalisation."""
    table = [
        [
            f"`{schedule}`",
            *(f"{estimate(found[schedule, w, 'none'], WEIGHT).mean:.3f}" for w in WEIGHTINGS),
        ]
        for schedule in SCHEDULES
    ]
    print("mean weight of the expert's tokens, normalize=none\n")
    markdown(["schedule", *(f"`{w}`" for w in WEIGHTINGS)], table)


def spread(found: Cells) -> None:
    """How much weightings differ under each schedule: the standard deviation of their means."""
    table = []
    for score in COMPARED:
        for scale in SCALES:
            each = [
                np.std(
                    [estimate(found[schedule, w, scale], score).mean for w in WEIGHTINGS], ddof=1
                )
                for schedule in SCHEDULES
            ]
            table.append([SCORES[score], scale, *(f"{100 * value:.1f}" for value in each)])
    print("standard deviation over the weightings, points\n")
    markdown(["score", "normalize", *(f"`{schedule}`" for schedule in SCHEDULES)], table)


def parts(found: Cells) -> None:
    """Scale: the unnormalised weighting minus it with mean 1. Shape: with mean 1 minus uniform."""
    pairs = []
    for score in COMPARED:
        for schedule in SCHEDULES:
            plain = by_seed(found[schedule, "uniform", "none"], score)
            for w in WEIGHTINGS[1:]:
                own = by_seed(found[schedule, w, "none"], score)
                normed = by_seed(found[schedule, w, "mean1"], score)
                pairs.append((f"{score}|{schedule}|{w}|scale", own, normed))
                pairs.append((f"{score}|{schedule}|{w}|shape", normed, plain))
    tested = {each.name: each for each in corrected(pairs)}
    certain = sum(each.p_holm < 0.05 for each in tested.values())
    print(f"paired differences, points; * p < .05 by Holm over all {len(tested)} ({certain})\n")
    table = []
    for schedule in SCHEDULES:
        for w in WEIGHTINGS[1:]:
            own = [tested[f"{score}|{schedule}|{w}|{part}"] for score in COMPARED for part in PARTS]
            cells = [signed(each.estimate) + "*" * (each.p_holm < 0.05) for each in own]
            table.append([f"`{schedule}`", f"`{w}`", *cells])
    header = [f"{SCORES[score]}: {part}" for score in COMPARED for part in PARTS]
    markdown(["schedule", "weighting", *header], table)


if __name__ == "__main__":
    main()
