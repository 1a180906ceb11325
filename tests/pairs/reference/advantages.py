"""Advantages of groups of answers, in plain Python."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from pairs.reference.look import mean

Table = list[list[float]]
Settings = dict[str, Any]


def level(values: Sequence[float]) -> float:
    """The mean; of equal values one of them."""
    return values[0] if max(values) == min(values) else mean(values)


def centred(s: Settings, rewards: Table, own: list[list[bool]]) -> Table:
    """Rewards less their baseline."""
    every = [reward for group in rewards for reward in group]
    baseline = s["baseline"]
    if baseline == "none" and s["scale"] == "whiten":
        baseline = "batch"
    found = []
    for group, sampled in zip(rewards, own, strict=True):
        if baseline in ("group", "all"):
            base = [level(group)] * len(group)
        elif baseline == "on_policy":
            members = [r for r, mine in zip(group, sampled, strict=True) if mine]
            base = [level(members) if members else 0.0] * len(group)
        elif baseline == "batch":
            base = [level(every)] * len(group)
        elif baseline == "none":
            base = [0.0] * len(group)
        else:
            assert baseline == "rloo", f"advantage.baseline={baseline} has no formula here"
            base = [level(group[:k] + group[k + 1 :]) for k in range(len(group))]
        found.append([reward - b for reward, b in zip(group, base, strict=True)])
    return found


def scaled(s: Settings, values: Table, rewards: Table) -> Table:
    """Divided by a standard deviation; 0 where there is none to divide by."""
    if s["scale"] == "none":
        return values
    whole = values if s["scale"] == "whiten" else rewards
    every = [value for group in whole for value in group]
    found = []
    for group, earned in zip(values, rewards, strict=True):
        sample = earned if s["scale"] == "group" else every
        # Centring leaves rounding behind, which is no spread.
        if max(sample) - min(sample) <= 1e-12:
            found.append([0.0] * len(group))
        else:
            found.append([value / (statistics.stdev(sample) + 1e-6) for value in group])
    return found


def advantages(
    s: Settings,
    name: str,
    rewards: Table,
    *,
    penalties: Table,
    own: list[list[bool]],
    right: list[list[bool]],
    entropies: Table,
) -> Table:
    """A of each answer. The KL penalty never enters a spread: centred as rewards are, it comes off
    what they have become. `right` are the verifier's verdicts.
    """
    signals = scaled(s, centred(s, rewards, own), rewards)
    if name == "srft":
        signals = [
            [
                (s["coef"] * math.exp(h) if good else -1.0) if mine else a
                for a, mine, good, h in zip(*rows, strict=True)
            ]
            for rows in zip(signals, own, right, entropies, strict=True)
        ]
    return [
        [a - d for a, d in zip(*rows, strict=True)]
        for rows in zip(signals, drift(s, penalties, own), strict=True)
    ]


def drift(s: Settings, penalties: Table, own: list[list[bool]]) -> Table:
    """Penalties less their baseline, among the answers that were sampled; others have none."""
    baseline = "batch" if (s["baseline"], s["scale"]) == ("none", "whiten") else s["baseline"]
    rows = [list(zip(*row, strict=True)) for row in zip(penalties, own, strict=True)]
    every = [penalty for row in rows for penalty, sampled in row if sampled]
    found = []
    for cs, mine in zip(penalties, own, strict=True):
        sampled = [k for k, m in enumerate(mine) if m]
        row = [0.0] * len(cs)
        for k in sampled:
            others = [cs[j] for j in sampled if baseline != "rloo" or j != k]
            if baseline == "batch":
                others = every
            row[k] = cs[k] - (mean(others) if others and baseline != "none" else 0.0)
        found.append(row)
    return found
