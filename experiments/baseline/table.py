"""runs.csv -> the tables of the study.

python -m experiments.collect experiments/baseline outputs/baseline/* (see commands.sh)
python -m experiments.baseline.table
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from chord.evaluation.statistics import t_interval
from experiments.tables import (
    SCORES,
    Row,
    differences,
    estimate,
    grouped,
    half,
    markdown,
    means,
    read,
)

TABLE = Path(__file__).parent / "runs.csv"
BASELINE = "sft_then_rl"
FIRST = ("sft", "rl", "sft_then_rl", "chord_mu", "chord_phi")
HEADER = ["preset", *SCORES.values(), "entropy", "tokens SFT / RL"]


def main() -> None:
    """The grids on validation, the test scores at equal steps and tokens, the differences."""
    rows = sorted(read(TABLE), key=place)
    tuned = [row for row in rows if sweep(row).startswith("tune")]
    steps = [row for row in rows if sweep(row).startswith("final")]
    tokens = [row for row in rows if sweep(row).startswith("tokens")]
    grids([row for row in tuned if int(row["steps"]) == 120], "120 steps")
    grids([row for row in tuned if int(row["steps"]) != 120], "equal tokens")
    scores(steps, "equal steps")
    # The other methods' tokens are matched to those of CHORD-mu's steps.
    mu = [row for row in steps if row["choice/experiment"] == "chord_mu"]
    scores([*tokens, *mu], "equal tokens")
    for what, own in (("equal steps", steps), ("equal tokens", [*tokens, *mu])):
        print(f"{what}, ", end="")
        differences(grouped(own, lambda row: row["choice/experiment"]), BASELINE)


def place(row: Row) -> int:
    """The presets named in the question, in its order, then the others."""
    name = row["choice/experiment"]
    return FIRST.index(name) if name in FIRST else len(FIRST)


def sweep(row: Row) -> str:
    """The directory of a run's sweep."""
    return row["path"].split("/")[-2]


def grids(rows: Sequence[Row], what: str) -> None:
    """Target / mean retained of every tuning run, best of each preset in bold."""
    print(f"{what}, validation: target greedy / retained mean, by learning rate\n")
    phased = [row for row in rows if rates(row)]
    plain = [row for row in rows if not rates(row)]
    cross(plain, lambda row: f"`{row['choice/experiment']}`", rate, "preset")
    print("sft_then_rl: rates of SFT and RL, by the switch as a share of the run\n")
    cross(phased, rates, lambda row: row["setting/schedule.switch_step"], "rates")
    best = {
        preset: 100 * max(map(balance, own))
        for preset, own in grouped(rows, lambda row: row["choice/experiment"]).items()
    }
    order = sorted(best, key=lambda preset: -best[preset])
    print("the best sums: " + ", ".join(f"{name} {best[name]:.1f}" for name in order) + "\n")


def cross(
    rows: Sequence[Row], left: Callable[[Row], str], top: Callable[[Row], str], name: str
) -> None:
    """A table of runs by two settings; the best of each preset is bold."""
    chosen = [
        max(own, key=balance) for own in grouped(rows, lambda r: r["choice/experiment"]).values()
    ]
    columns = sorted({top(row) for row in rows}, key=float)
    table = []
    for label, own in grouped(rows, left).items():
        cells = {top(row): f"**{pair(row)}**" if row in chosen else pair(row) for row in own}
        table.append([label, *(cells.get(column, "") for column in columns)])
    markdown([name, *columns], table)


def balance(row: Row) -> float:
    """The sum that settings are chosen by."""
    return float(row["val/target_accuracy"]) + float(row["val/retained/mean"])


def pair(row: Row) -> str:
    """Both parts of the sum, in per cent."""
    target, retained = float(row["val/target_accuracy"]), float(row["val/retained/mean"])
    return f"{100 * target:.1f} / {100 * retained:.1f}"


def rate(row: Row) -> str:
    """The learning rate."""
    return f"{float(row['setting/optimizer.lr']):g}"


def rates(row: Row) -> str:
    """The learning rates of both phases, if a run has two."""
    found = row.get("setting/schedule.phase.lr") or ""
    if not found.startswith("("):
        return ""
    return " then ".join(f"{float(each):g}" for each in found.strip("()").split(","))


def scores(rows: Sequence[Row], what: str) -> None:
    """Means with intervals; the base first."""
    if not rows:
        return
    print(f"{what}, test\n")
    base = [f"{100 * float(rows[0][f'base/{score}']):.1f}" for score in SCORES]
    table = [["base", *base, f"{float(rows[0]['base/test/entropy']):.3f}", ""]]
    for preset, own in grouped(rows, lambda row: row["choice/experiment"]).items():
        cells = means(own, SCORES)
        entropy = estimate(own, "test/entropy")
        taught, sampled = (mean(own, f"tokens/{branch}") / 1000 for branch in ("sft", "rl"))
        table.append(
            [
                f"`{preset}`, {own[0]['steps']} steps",
                *cells,
                f"{entropy.mean:.3f} ± {half(entropy):.3f}",
                f"{taught:.0f}k / {sampled:.0f}k",
            ]
        )
    markdown(HEADER, table)


def mean(rows: Sequence[Row], column: str) -> float:
    """The mean of a cost; a branch that was not trained has none."""
    return t_interval([float(row.get(column) or 0) for row in rows]).mean


if __name__ == "__main__":
    main()
