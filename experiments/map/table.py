"""runs.csv, bases.csv -> the tables of the study.

python -m experiments.collect experiments/map outputs/map/{default,small,large}
python -m experiments.map.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chord.compare.model import Estimate
from experiments.tables import (
    Paired,
    Row,
    by_seed,
    chance,
    corrected,
    estimate,
    grouped,
    markdown,
    percent,
    read,
    signed,
)

HERE = Path(__file__).parent
METHODS = ("rl", "sft", "sft_then_rl", "chord_mu")
SCORE, RETAINED = "test/target_mean4", "test/retained/mean"
LEVEL = 0.05
# The smallest first operand is another one for each size of problems.
SIZES = {"1000": "small", "3000": "default", "5000": "large"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A base on problems of one size, and what came of it.

    `share`: of the base's samples, those in the expert's manner; `right`: of these, the right
    ones; `ahead`: the method with the highest mean, minus each other method.
    """

    seed: int
    size: str
    share: float
    right: float
    runs: Mapping[str, Sequence[Row]]
    ahead: Mapping[str, Paired]

    @property
    def leader(self) -> str:
        """The method with the highest mean."""
        return max(self.runs, key=lambda name: self.scores(name).mean)

    @property
    def level(self) -> list[str]:
        """The leader, and whatever can't be told apart from it."""
        return [self.leader, *(name for name, each in self.ahead.items() if not sure(each))]

    @property
    def base(self) -> float:
        """What the base scores."""
        return float(self.runs[self.leader][0][f"base/{SCORE}"])

    def scores(self, method: str) -> Estimate:
        """A method's score with its interval."""
        return estimate(self.runs[method], SCORE)


def sure(difference: Paired) -> bool:
    """Whether a difference holds up in its family; without a test (no spread at all) it does."""
    return not difference.p_holm >= LEVEL


def places() -> list[Place]:
    """Every base and size of which all methods have runs; Holm's correction over all of them."""
    scored = {(row["seed"], row["share"], row["size"]): row for row in read(HERE / "bases.csv")}
    groups = {}
    for found, rows in grouped(read(HERE / "runs.csv"), base_of).items():
        methods = grouped(rows, lambda row: row["choice/experiment"])
        if len(methods) == len(METHODS) and all(len(own) > 1 for own in methods.values()):
            groups[found] = {name: methods[name] for name in METHODS}
    pairs = []
    for found, runs in groups.items():
        first = leader(runs)
        pairs += [
            ((found, name), by_seed(runs[first], SCORE), by_seed(runs[name], SCORE))
            for name in METHODS
            if name != first
        ]
    tested = {each.name: each for each in corrected([(repr(k), a, b) for k, a, b in pairs])}
    result = []
    for found, runs in groups.items():
        row = scored[found]
        first = leader(runs)
        ahead = {n: tested[repr((found, n))] for n in METHODS if n != first}
        result.append(
            Place(
                seed=int(row["seed"]),
                size=row["size"],
                share=float(row["manner"]),
                right=float(row["manner_right"]),
                runs=runs,
                ahead=dict(sorted(ahead.items(), key=lambda item: item[1].estimate.mean)),
            )
        )
    return sorted(result, key=lambda place: (place.size, place.seed, place.share))


def leader(runs: Mapping[str, Sequence[Row]]) -> str:
    """The method with the highest mean."""
    return max(runs, key=lambda name: estimate(runs[name], SCORE).mean)


def base_of(row: Row) -> tuple[str, str, str]:
    """Pre-training seed, share and size: `.../base0_share0.03.safetensors` is 0 and 0.03."""
    name = Path(row["setting/model.path"]).name.removesuffix(".safetensors")
    seed, share = name.removeprefix("base").split("_share")
    return seed, share, SIZES[row.get("setting/data.min_first") or "3000"]


def main() -> None:
    """Target and retained skills at every place, and who leads."""
    found = places()
    for score, what in ((SCORE, "target mean@4"), (RETAINED, "retained mean")):
        header = ["base", "sizes", "in the manner", "right there", f"base: {what}"]
        table = [
            [
                str(place.seed),
                place.size,
                f"{100 * place.share:.1f}",
                f"{100 * place.right:.0f}",
                f"{100 * float(place.runs[METHODS[0]][0][f'base/{score}']):.1f}",
                *(percent(estimate(place.runs[method], score)) for method in METHODS),
                *(said(place) if score == SCORE else []),
            ]
            for place in found
        ]
        ends = ["leads", "by"] if score == SCORE else []
        markdown([*header, *(f"`{method}`" for method in METHODS), *ends], table)


def said(place: Place) -> list[str]:
    """Who leads, with whom, and the distance to the next."""
    name, second = next(iter(place.ahead.items()))
    text = f"{signed(second.estimate)} on `{name}` (p {chance(second.p_holm)})"
    return [" = ".join(f"`{method}`" for method in place.level), text]


if __name__ == "__main__":
    main()
