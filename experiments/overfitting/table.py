"""runs.csv and curves.csv -> the tables of the study.

python -m experiments.collect experiments/overfitting outputs/overfitting (see commands.sh)
python -m experiments.overfitting.table
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from chord.evaluation.statistics import Estimate, t_interval
from experiments.tables import (
    Paired,
    Row,
    chance,
    corrected,
    grouped,
    half,
    markdown,
    percent,
    read,
    signed,
)

HERE = Path(__file__).parent
REWARD, RETAINED, NLL = "val/target_mean4", "val/retained/mean", "val/expert_nll"
GREEDY = "val/target_accuracy"
# From the base's own response style to the one that it has never seen.
MANNERS = ("direct", "worked", "tens_first")
LAST = 120
EARLY = 30
ROUNDING = 1e-4
Curves = Mapping[int, Mapping[int, float]]
"""A score by seed, by step."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of what is varied."""

    manner: str
    rate: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.manner}, {self.rate:g}, {self.pairs}"


@dataclass(frozen=True, kw_only=True)
class Phases:
    """A cell's curves and, for each seed, the steps at which a phase ends.

    A seed's steps are chosen on the mean of the *other* seeds: its own extremes are in part those
    of its noise. The lowest reward is that of the first `EARLY` steps, the highest comes after it.
    """

    reward: Curves
    nll: Curves
    highest: Mapping[int, int]
    lowest: Mapping[int, int]
    likeliest: Mapping[int, int]


def main() -> None:
    """The phases of each cell, and which of them are more than noise."""
    rows, curves = read(HERE / "runs.csv"), read(HERE / "curves.csv")
    cells = cells_of(rows)
    found = {cell: phases(own, curves) for cell, own in cells.items()}
    pairs = [
        (f"{cell}|{name}", *values)
        for cell, each in found.items()
        for name, values in changes(each).items()
    ]
    # Recorded to five decimals, values of equal runs may differ in the last one: no test either.
    varying = [pair for pair in pairs if not is_rounding(*pair[1:])]
    tested = {each.name: each for each in corrected(varying)}
    for name, later, earlier in pairs:
        if name not in tested:
            same = t_interval([later[seed] - earlier[seed] for seed in later])
            tested[name] = Paired(name=name, estimate=same, p=math.nan, p_holm=math.nan)
    header = ["style", "lr", "pairs", "lowest at", "shift", "highest at", "readapt"]
    header += ["end - highest", "nll lowest at", "nll: end - lowest"]
    table = []
    for cell, each in found.items():
        own = {name: tested[f"{cell}|{name}"] for name in changes(each)}
        points = {name: text(own[name], "nats" if name == "nll" else "points") for name in own}
        table.append(
            [
                *(cell.manner, f"{cell.rate:g}", str(cell.pairs)),
                *(steps(each.lowest), points["shift"]),
                *(steps(each.highest), points["readapt"], points["overfit"]),
                *(steps(each.likeliest), points["nll"]),
            ]
        )
    # If all seeds change by the same amount, there is no test, and Holm's family is smaller.
    family = sum(not math.isnan(each.p) for each in tested.values())
    certain = sum(sure(each) for each in tested.values())
    print(
        f"target mean@4, points; * p < .05 by Holm over {family} of {len(tested)} ({certain}), "
        f"the others have no test\n"
    )
    markdown(header, table)
    ends(cells, curves)
    across(found)


def ends(cells: Mapping[Cell, Sequence[Row]], curves: Sequence[Row]) -> None:
    """The scores of each cell after the last step."""
    table = []
    for cell, own in cells.items():
        last = [
            t_interval([curve[LAST] for curve in by_seed(own, curves, score).values()])
            for score in (GREEDY, REWARD, RETAINED)
        ]
        table.append(
            [
                cell.manner,
                f"{cell.rate:g}",
                str(cell.pairs),
                *(percent(each) if spread(each) else percent(each).split()[0] for each in last),
            ]
        )
    print("after the last step, validation, %\n")
    markdown(["style", "lr", "pairs", "greedy", "mean@4", "retained mean"], table)


def across(found: Mapping[Cell, Phases]) -> None:
    """Shifts from style to style, and ends from 128 to 512 pairs; their own family for Holm."""
    shifts = {
        cell: {seed: low - start[seed] for seed, low in lowest.items()}
        for cell, each in found.items()
        for lowest, start in [changes(each)["shift"]]
    }
    end = {cell: {s: own[LAST] for s, own in each.reward.items()} for cell, each in found.items()}
    pairs = []
    for rate in (1e-4, 1e-3):
        for nearer, further in pairwise(MANNERS):
            for n in (128, 512):
                one, other = (Cell(manner=m, rate=rate, pairs=n) for m in (further, nearer))
                pairs.append((f"shift, {one} - {nearer}", shifts[one], shifts[other]))
        for manner in MANNERS[1:]:
            many, few = (Cell(manner=manner, rate=rate, pairs=n) for n in (512, 128))
            pairs.append((f"end, {many} - 128", end[many], end[few]))
    known = Cell(manner="worked", rate=1e-3, pairs=128)
    unseen = Cell(manner="tens_first", rate=1e-3, pairs=512)
    pairs.append((f"end, {unseen} - {known}", end[unseen], end[known]))
    print(f"mean@4, points, from cell to cell; p by Holm over these {len(pairs)}\n")
    for each in corrected(pairs):
        print(f"{each.name}: {signed(each.estimate)}, p {chance(each.p_holm)}")


def spread(found: Estimate) -> bool:
    """Whether seeds differ at all: if every step sees every pair, they are the same run."""
    return half(found) > ROUNDING


def is_rounding(later: Mapping[int, float], earlier: Mapping[int, float]) -> bool:
    """Whether a change is not 0 and the same for all seeds, but for rounding."""
    changed = [later[seed] - earlier[seed] for seed in later]
    return any(changed) and 0 < max(changed) - min(changed) < ROUNDING


def sure(found: Paired) -> bool:
    """Whether a difference is significant; if seeds do not differ, there is nothing to test."""
    return spread(found.estimate) and found.p_holm < 0.05


def text(found: Paired, unit: str) -> str:
    """`-3.9 ± 1.1*`; without an interval if seeds do not differ."""
    if unit == "points":
        written = signed(found.estimate)
    else:
        written = f"{found.estimate.mean:+.3f} ± {half(found.estimate):.3f}"
    return written + "*" * sure(found) if spread(found.estimate) else written.split()[0]


def cells_of(rows: Sequence[Row]) -> dict[Cell, list[Row]]:
    """Runs of each cell, in the order of the table."""
    found: dict[Cell, list[Row]] = {}
    for row in rows:
        cell = Cell(
            manner=row["setting/data.manner"],
            rate=float(row["setting/optimizer.lr"]),
            pairs=int(row["setting/data.expert_pairs"]),
        )
        found.setdefault(cell, []).append(row)
    return dict(
        sorted(
            found.items(),
            key=lambda each: (MANNERS.index(each[0].manner), each[0].rate, each[0].pairs),
        )
    )


def by_seed(rows: Sequence[Row], curves: Sequence[Row], score: str) -> dict[int, dict[int, float]]:
    """A score of each seed's run over its steps."""
    seeds = {row["path"]: int(row["seed"]) for row in rows}
    return {
        seeds[str(path)]: {int(row["step"]): float(row[score]) for row in own}
        for path, own in grouped(curves, lambda row: row["path"]).items()
        if path in seeds
    }


def phases(rows: Sequence[Row], curves: Sequence[Row]) -> Phases:
    """Where a cell's phases end."""
    reward, nll = by_seed(rows, curves, REWARD), by_seed(rows, curves, NLL)
    lowest = {
        seed: step_of(reward, seed, (s for s in own if 0 < s <= EARLY), sign=-1)
        for seed, own in reward.items()
    }
    highest = {
        seed: step_of(reward, seed, (s for s in own if s >= lowest[seed]), sign=1)
        for seed, own in reward.items()
    }
    return Phases(
        reward=reward,
        nll=nll,
        lowest=lowest,
        highest=highest,
        likeliest={seed: step_of(nll, seed, nll[seed], sign=-1) for seed in nll},
    )


def step_of(curves: Curves, seed: int, steps: Iterable[int], *, sign: int) -> int:
    """The step at which the mean of the other seeds is highest (sign 1) or lowest (-1)."""
    others = [curve for other, curve in curves.items() if other != seed] or [curves[seed]]
    return max(steps, key=lambda step: sign * sum(curve[step] for curve in others))


def changes(found: Phases) -> dict[str, tuple[dict[int, float], dict[int, float]]]:
    """The differences that are tested, as pairs of the later and the earlier value."""
    start, end = dict.fromkeys(found.reward, 0), dict.fromkeys(found.reward, LAST)
    return {
        "shift": (at(found.reward, found.lowest), at(found.reward, start)),
        "readapt": (at(found.reward, found.highest), at(found.reward, found.lowest)),
        "overfit": (at(found.reward, end), at(found.reward, found.highest)),
        "nll": (at(found.nll, end), at(found.nll, found.likeliest)),
    }


def at(curves: Curves, where: Mapping[int, int]) -> dict[int, float]:
    """Each seed's value at its step."""
    return {seed: curve[where[seed]] for seed, curve in curves.items()}


def steps(where: Mapping[int, int]) -> str:
    """`15`, or `10-20` where the seeds' steps differ."""
    low, high = min(where.values()), max(where.values())
    return str(low) if low == high else f"{low}-{high}"


if __name__ == "__main__":
    main()
