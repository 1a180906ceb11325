"""Shared by the studies' tables: rows of a CSV file, means with intervals, differences."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chord.compare.statistics import holm, paired_difference
from chord.evaluation.statistics import Estimate, t_interval

Row = Mapping[str, str]
BySeed = Mapping[int, float]
Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
# The scores that every study reports, and their names in tables.
SCORES = {
    "test/target_accuracy": "target greedy",
    "test/target_mean4": "target mean@4",
    "test/retained/mean": "retained mean",
    "test/retained/min": "retained min",
    "test/expert_style": "expert's style",
}
# The scores whose differences are tested.
COMPARED = ("test/target_accuracy", "test/target_mean4", "test/retained/mean")
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A difference over common seeds, with its p, and with Holm's p over its family."""

    name: str
    estimate: Estimate
    p: float
    p_holm: float


def read(path: Path) -> list[Row]:
    """Read the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def by_seed(rows: Iterable[Row], score: str) -> dict[int, float]:
    """A score by seed; two runs of the same seed mean that the caller chose the wrong rows."""
    found: dict[int, float] = {}
    for row in rows:
        seed = int(row["seed"])
        assert seed not in found, f"two runs of seed {seed}: {row['path']}"
        found[seed] = float(row[score])
    return found


def estimate(rows: Iterable[Row], score: str) -> Estimate:
    """Return mean and 95 % interval over the seeds."""
    return t_interval(list(by_seed(rows, score).values()))


def half(found: Estimate) -> float:
    """Return half the width of an interval."""
    return found.high - found.mean


def percent(found: Estimate) -> str:
    """Format an estimate in per cent: `61.2 ± 1.0`, or `61.2` for a single value."""
    text = f"{100 * found.mean:.1f}"
    return f"{text} ± {100 * half(found):.1f}" if found.n > 1 else text


def means(rows: Sequence[Row], names: Iterable[str]) -> list[str]:
    """Return each score's mean and interval over the seeds, as text."""
    return [percent(estimate(rows, name)) for name in names]


def signed(found: Estimate) -> str:
    """Format a difference in percentage points: `+4.3 ± 1.0`."""
    return f"{100 * found.mean:+.1f} ± {100 * half(found):.1f}"


def corrected(pairs: Sequence[tuple[str, BySeed, BySeed]]) -> list[Paired]:
    """Each first minus its second over common seeds; Holm's correction over all of them."""
    found = [(name, paired_difference(ours, theirs)) for name, ours, theirs in pairs]
    tested = [(name, difference) for name, difference in found if difference is not None]
    ps = holm([p for _, (_, p) in tested])
    return [
        Paired(name=name, estimate=difference, p=p, p_holm=p_holm)
        for (name, (difference, p)), p_holm in zip(tested, ps, strict=True)
    ]


def differences(
    groups: Mapping[str, Sequence[Row]], baseline: str, *, names: Sequence[str] = ()
) -> None:
    """Print the differences of groups (or of `names`) to the baseline, Holm-corrected together."""
    shown = [name for name in names or groups if name != baseline]
    pairs = [
        (f"{name}|{score}", by_seed(groups[name], score), by_seed(groups[baseline], score))
        for name in shown
        for score in COMPARED
    ]
    tested = {each.name: each for each in corrected(pairs)}
    print(f"paired differences to {baseline}: points, Holm's p over all {len(tested)} of them\n")
    table = []
    for name in shown:
        own = [tested[f"{name}|{score}"] for score in COMPARED]
        cells = [f"{signed(each.estimate)} (p {chance(each.p_holm)})" for each in own]
        table.append([f"`{name}`", *cells])
    markdown(["preset", *(SCORES[score] for score in COMPARED)], table)


def wilson(hits: int, n: int) -> Estimate:
    """Return a share of n independent draws with its 95 % interval (Wilson, 1927, JASA 22).

    The bounds are the shares p that are 1.96 standard errors √(p (1 - p) / n) away from hits / n.
    0 of n also has an interval. 10 of 52: .108 to .319.
    """
    z, share = 1.959964, hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    return Estimate(mean=share, low=max(0.0, middle - reach), high=min(1.0, middle + reach), n=n)


def costs(rows: Sequence[Row]) -> list[str]:
    """Return thousands of tokens per branch, and seconds; a branch that never ran has 0 tokens."""
    sft, rl, seconds = (
        statistics.mean(float(row[column] or 0) for row in rows)
        for column in ("tokens/sft", "tokens/rl", "seconds")
    )
    return [f"{sft / 1000:.0f}k / {rl / 1000:.0f}k", f"{seconds:.0f}"]


def chance(p: float) -> str:
    """A p value as in the texts: `.026`, `< .001`, or a dash if no test was possible."""
    if math.isnan(p):
        return "-"
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def grouped(rows: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Group rows by a key, in the order in which the keys first occur."""
    found: dict[Key, list[Item]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
