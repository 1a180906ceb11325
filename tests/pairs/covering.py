"""A covering array: configurations in which every pair of levels meets at least once.

Greedy, a row at a time (after AETG: Cohen, Dalal, Fredman and Patton, 1997), with constraints. A
row that is refused would cover nothing, so every row is one that nothing refuses; pairs that no
such row can hold are returned apart. Two levels meet where both make a difference; where no row
has that, it is enough that they stand beside each other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pairs.activity import ACTIVE, Active, meets, needs
from pairs.factors import Row
from pairs.refusals import Refusal

# A search that has run into a dead end is begun anew in another order; one that ends is proof.
BUDGET, ATTEMPTS = 150, 12
Place = tuple[str, str]
Pair = tuple[Place, Place]


@dataclass(frozen=True)
class Rule:
    """What a row must not be: `when` of the levels of `reads`, or its opposite."""

    of: Refusal | Active
    wrong: bool

    @property
    def reads(self) -> tuple[str, ...]:
        return self.of.reads

    def broken(self, row: Row) -> bool:
        return self.of.when(*(row[name] for name in self.of.reads)) == self.wrong


class Array:
    """`rows` in which all pairs meet but the `impossible` ones; the same for the same seed.

    With a `limit` the first rows alone. `idle` are pairs of which one makes no difference wherever
    the other is.
    """

    def __init__(
        self,
        factors: Mapping[str, Sequence[str]],
        refusals: Sequence[Refusal],
        *,
        activity: Mapping[str, Active] = ACTIVE,
        limit: int | None = None,
        seed: int = 0,
        tries: int = 2,
    ) -> None:
        self.factors = {name: list(levels) for name, levels in factors.items()}
        self.refusals = [Rule(refusal, wrong=True) for refusal in refusals]
        self.active = activity
        self.random = random.Random(seed)
        self.rows: list[Row] = []
        self.impossible: list[Pair] = []
        self.idle: set[Pair] = set()
        # For each level the levels of other factors that it has not met.
        self.missing: dict[Place, set[Place]] = {}
        for one, other in all_pairs(self.factors):
            self.missing.setdefault(one, set()).add(other)
            self.missing.setdefault(other, set()).add(one)
        for pair in self.unmet():
            if limit is not None and len(self.rows) >= limit:
                break
            if not self.add(pair, [*self.refusals, *self.activity(pair)], tries):
                self.idle.add(pair)
                if not self.add(pair, self.refusals, tries):
                    self.impossible.append(pair)
                self.cover(*pair)

    def unmet(self) -> Iterator[Pair]:
        """Pairs that have not met, as long as there are any, those of many levels first."""
        sizes = {name: len(levels) for name, levels in self.factors.items()}
        pairs = list(all_pairs(self.factors))
        self.random.shuffle(pairs)
        pairs.sort(key=lambda pair: -sizes[pair[0][0]] * sizes[pair[1][0]])
        for one, other in pairs:
            if other in self.missing[one]:
                yield one, other

    def activity(self, pair: Pair) -> list[Rule]:
        names = [name for name, _ in pair]
        return [Rule(need, wrong=False) for need in needs(self.active, *names)]

    def add(self, pair: Pair, rules: Sequence[Rule], tries: int) -> bool:
        """Add the row with that pair that shows the most others; false where there is none."""
        found = [row for _ in range(tries) if (row := self.row(pair, rules)) is not None]
        if not found:
            return False
        best = max(found, key=lambda row: sum(1 for _ in self.new(row)))
        self.rows.append(best)
        for one, other in list(self.new(best)):
            self.cover(one, other)
        return True

    def new(self, row: Row) -> Iterator[Pair]:
        for one, other in combinations(row.items(), 2):
            if other in self.missing[one] and meets(row, one[0], other[0], self.active):
                yield one, other

    def cover(self, one: Place, other: Place) -> None:
        self.missing[one].discard(other)
        self.missing[other].discard(one)

    def row(self, pair: Pair, rules: Sequence[Rule]) -> Row | None:
        """A row with that pair in which each further level meets what it can; None: there is none.

        Factors that rules read come first, those of the fewest levels left before others.
        """
        row = dict(pair)
        if any(rule.broken(row) for rule in rules if row.keys() >= set(rule.reads)):
            return None
        bound = {name for rule in rules for name in rule.reads} - row.keys()
        left = {name: self.allowed(row, name, rules) for name in sorted(bound)}
        found = None
        for _ in range(ATTEMPTS):
            self.budget = BUDGET
            found = self.bind(row, left, rules)
            if found is not None or self.budget > 0:
                break
        if found is None:
            return None
        free = [name for name in self.factors if name not in found]
        for name in self.random.sample(free, len(free)):
            found[name] = self.ordered(found, name, self.factors[name])[0]
        return {name: found[name] for name in self.factors}

    def bind(self, row: Row, left: dict[str, list[str]], rules: Sequence[Rule]) -> Row | None:
        """Levels for the factors of rules, chosen one by one and taken back at a dead end."""
        if not left:
            return row
        self.budget -= 1
        if not all(left.values()) or self.budget < 0:
            return None
        shares = {name: len(v) / len(self.factors[name]) for name, v in left.items()}
        fewest = min(shares.values())
        name = self.random.choice([name for name, share in shares.items() if share == fewest])
        beside = {other for rule in rules if name in rule.reads for other in rule.reads}
        for level in self.ordered(row, name, left[name]):
            further = {**row, name: level}
            rest = {
                other: self.allowed(further, other, rules) if other in beside else levels
                for other, levels in left.items()
                if other != name
            }
            found = self.bind(further, rest, rules)
            if found is not None or self.budget < 0:
                return found
        return None

    def ordered(self, row: Row, name: str, levels: Sequence[str]) -> list[str]:
        """The levels that meet most first, equal ones by chance."""
        shuffled = self.random.sample(list(levels), len(levels))
        met = {v: sum(place in self.missing[name, v] for place in row.items()) for v in shuffled}
        return sorted(shuffled, key=lambda level: -met[level])

    def allowed(self, row: Row, name: str, rules: Sequence[Rule]) -> list[str]:
        """The levels of a factor that break no rule beside what is chosen already."""
        known = row.keys() | {name}
        relevant = [rule for rule in rules if name in rule.reads and known >= set(rule.reads)]
        return [
            level
            for level in self.factors[name]
            if not any(rule.broken({**row, name: level}) for rule in relevant)
        ]


def all_pairs(factors: Mapping[str, Sequence[str]]) -> Iterator[Pair]:
    for one, other in combinations(factors, 2):
        for first in factors[one]:
            for second in factors[other]:
                yield (one, first), (other, second)
