"""runs.csv, bases.csv -> the tables of the study.

python -m experiments.collect experiments/map outputs/map/{default,small,large}
python -m experiments.map.table
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chord.evaluation.statistics import Estimate
from experiments.tables import (
    LEVEL,
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
    wilson,
)

HERE = Path(__file__).parent
METHODS = ("rl", "sft", "sft_then_rl", "chord_mu")
SCORE, RETAINED = "test/target_mean4", "test/retained/mean"
# A method not significantly behind the leader is drawn beside it within this distance.
NEAR = 0.05
# The shares in bases.csv are over 500 validation problems with 16 samples each.
SAMPLES = 8000
# Each problem size has a different smallest first operand.
SIZES = {"1000": "small", "3000": "default", "5000": "large"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A base on problems of one size, and the runs from it.

    `share`: of the base's samples, those in the expert's style; `right`: of these, the right
    ones, `hits` of them; `ahead`: the method with the highest mean, minus each other method.
    """

    seed: int
    size: str
    share: Estimate
    right: Estimate
    hits: int
    runs: Mapping[str, Sequence[Row]]
    ahead: Mapping[str, Paired]

    @property
    def leader(self) -> str:
        """The method with the highest mean."""
        return max(self.runs, key=lambda name: self.scores(name).mean)

    @property
    def open(self) -> Mapping[str, Estimate]:
        """The leads over methods that are not significantly behind the leader."""
        return {name: each.estimate for name, each in self.ahead.items() if not sure(each)}

    @property
    def near(self) -> list[str]:
        """Those whose mean is also close to the leader's: a wide interval alone is not enough."""
        return [name for name, lead in self.open.items() if lead.mean <= NEAR]

    @property
    def base(self) -> float:
        """The base's score."""
        return float(self.runs[self.leader][0][f"base/{SCORE}"])

    def scores(self, method: str) -> Estimate:
        """A method's score with its interval."""
        return estimate(self.runs[method], SCORE)


def sure(difference: Paired) -> bool:
    """Whether a difference is significant in its family; one without any spread counts as such."""
    return not difference.p_holm >= LEVEL


def places() -> list[Place]:
    """Every base and size for which all methods have runs; Holm's correction over all of them."""
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
        # The shares have four decimals, which is enough to recover the counts.
        styled = round(SAMPLES * float(row["manner"]))
        hits = round(styled * float(row["manner_right"]))
        ahead = {n: tested[repr((found, n))] for n in METHODS if n != first}
        result.append(
            Place(
                seed=int(row["seed"]),
                size=row["size"],
                share=wilson(styled, SAMPLES),
                right=wilson(hits, styled),
                hits=hits,
                runs=runs,
                ahead=dict(sorted(ahead.items(), key=lambda item: item[1].estimate.mean)),
            )
        )
    return sorted(result, key=lambda place: (place.size, place.seed, place.share.mean))


def leader(runs: Mapping[str, Sequence[Row]]) -> str:
    """The method with the highest mean."""
    return max(runs, key=lambda name: estimate(runs[name], SCORE).mean)


def base_of(row: Row) -> tuple[str, str, str]:
    """Pre-training seed, share and size: `.../base0_share0.03.safetensors` is 0 and 0.03."""
    name = Path(row["setting/model.path"]).name.removesuffix(".safetensors")
    seed, share = name.removeprefix("base").split("_share")
    return seed, share, SIZES[row.get("setting/data.min_first") or "3000"]


def main() -> None:
    """Target and retained skills at every place, the leaders, and where the lead is smaller."""
    found = places()
    print("target mean@4\n")
    markdown(
        [
            *("base", "size", "in the style", "right in it", "base: target mean@4"),
            *(f"`{method}`" for method in METHODS),
            *("leader", "second, points behind", "not significantly behind, points"),
        ],
        [[*base(place), *scores(place, SCORE), *said(place)] for place in found],
    )
    versus = ("rl", "sft_then_rl")
    lost = {each.name: each for each in corrected(forgotten(found, versus))}
    print(f"retained mean; * p < .05 by Holm over {len(lost)} differences of CHORD-mu\n")
    markdown(
        [
            *("base", "size", "in the style", "base: retained mean"),
            *(f"`{method}`" for method in METHODS),
            *(f"`chord_mu` - `{method}`" for method in versus),
        ],
        [
            [
                *(str(place.seed), place.size, f"{100 * place.share.mean:.1f}"),
                *scores(place, RETAINED),
                *(starred(lost[f"{number}|{method}"]) for method in versus),
            ]
            for number, place in enumerate(found)
        ],
    )
    print("CHORD-mu's lead over SFT-then-RL, minus its lead where the style is most common\n")
    for each in corrected(shrinking(found)):
        print(f"{each.name}: {signed(each.estimate)} (p {chance(each.p_holm)})")


def base(place: Place) -> list[str]:
    """What is known of a base before it is trained."""
    share, right = place.share, place.right
    digits = 0 if right.high > 0.1 else 1
    return [
        str(place.seed),
        place.size,
        f"{100 * share.mean:.1f} ({100 * share.low:.1f} to {100 * share.high:.1f})",
        f"{place.hits} of {right.n:,}: {100 * right.mean:.0f} "
        f"({100 * right.low:.{digits}f} to {100 * right.high:.{digits}f})",
    ]


def scores(place: Place, score: str) -> list[str]:
    """The scores of the base and of the methods."""
    first = float(place.runs[METHODS[0]][0][f"base/{score}"])
    return [f"{100 * first:.1f}", *(percent(estimate(place.runs[m], score)) for m in METHODS)]


def said(place: Place) -> list[str]:
    """The leader, its lead over the second, and over methods not significantly behind it."""
    name, second = next(iter(place.ahead.items()))
    return [
        f"`{place.leader}`",
        f"`{name}` {percent(second.estimate)} (p {chance(second.p_holm)})",
        ", ".join(f"`{name}` {percent(lead)}" for name, lead in place.open.items()) or "none",
    ]


def forgotten(
    found: Sequence[Place], versus: Sequence[str]
) -> list[tuple[str, dict[int, float], dict[int, float]]]:
    """CHORD-mu's retained skills and those of each other method, at every place."""
    return [
        (
            f"{number}|{method}",
            by_seed(place.runs["chord_mu"], RETAINED),
            by_seed(place.runs[method], RETAINED),
        )
        for number, place in enumerate(found)
        for method in versus
    ]


def shrinking(found: Sequence[Place]) -> list[tuple[str, dict[int, float], dict[int, float]]]:
    """CHORD-mu's lead over SFT-then-RL, at each base and at the one that uses the style most."""
    pairs = []
    led = [place for place in found if place.leader == "chord_mu"]
    for (seed, size), own in grouped(led, lambda place: (place.seed, place.size)).items():
        *rarer, common = [(place, lead(place)) for place in own]
        pairs += [
            (f"base {seed}, {size}, {100 * place.share.mean:.1f} %", ahead, common[1])
            for place, ahead in rarer
        ]
    return pairs


def lead(place: Place) -> dict[int, float]:
    """CHORD-mu minus SFT-then-RL, by seed."""
    ours, theirs = (by_seed(place.runs[name], SCORE) for name in ("chord_mu", "sft_then_rl"))
    return {seed: ours[seed] - theirs[seed] for seed in ours}


def starred(found: Paired) -> str:
    """A difference, with a mark if it is significant in its family."""
    return signed(found.estimate) + "*" * sure(found)


if __name__ == "__main__":
    main()
