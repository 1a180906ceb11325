"""Token weights, by name: docs/methods.md, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from pairs.reference.look import Line, Models, Token, entropy_of, mean, number

Settings = dict[str, Any]


def weigh(
    rule: Settings, name: str, lines: Sequence[Line], looks: Sequence[list[Token]], models: Models
) -> list[list[float]]:
    """w of each token that counts, 0 for the others, over all lines of a step."""
    others: Any = None
    if name in ("adaptive", "margin") and rule["expert"] == "teacher":
        others = models.teacher
    if name == "iw":
        others = models.reference
    with torch.no_grad():
        seen = [line.look(others) if others else [None] * len(line.answer) for line in lines]
    raw = []
    for line, tokens, there in zip(lines, looks, seen, strict=True):
        kept = [place for place, counts in enumerate(line.counts) if counts]
        row = [0.0] * len(tokens)
        for place in kept:
            row[place] = _raw(rule, name, line, tokens, kept, place, there)
        raw.append(row)
    if name == "top_entropy":
        raw = _top(rule["rho"], lines, looks)
    if rule["normalize"] == "mean1":
        counted = [
            w
            for line, row in zip(lines, raw, strict=True)
            for w, counts in zip(row, line.counts, strict=True)
            if counts
        ]
        level = mean(counted) if counted else 0.0
        raw = [[w / level if level > 0 else 0.0 for w in row] for row in raw]
    return raw


def _raw(
    rule: Settings,
    name: str,
    line: Line,
    tokens: list[Token],
    kept: list[int],
    place: int,
    there: list[Any],
) -> float:
    token, size = tokens[place], len(tokens[place].distribution)
    p = token.p
    if name == "uniform":
        return 1.0
    if name == "phi":
        return p * (1 - p)
    if name == "importance":
        return p
    if name == "importance_clip":
        return p if p <= rule["bound"] else {"drop": 0.0, "cap": rule["bound"]}[rule["above"]]
    if name == "focal":
        return float((1 - p) ** rule["gamma"])
    if name == "power":
        return float(p ** rule["q"])
    if name == "threshold":
        return float(p >= rule["bound"] if rule["side"] == "above" else p <= rule["bound"])
    if name == "luffy":
        return float(rule["gamma"] * p / (p + rule["gamma"]) ** 2)
    if name == "trust_region":
        return min(1.0, p / rule["a"])
    if name == "rlplus":
        return 2 * p * math.sqrt(1 - p) / (1.5 * p + 0.5)
    if name == "entropy":
        return token.entropy / math.log(size)
    if name == "top_entropy":
        return 0.0
    if name == "top_k_entropy":
        largest = sorted(token.distribution, reverse=True)[: rule["k"]]
        spread = entropy_of([each / sum(largest) for each in largest])
        return float((spread / math.log(len(largest))) ** rule["a"])
    if name == "srft":
        spread = token.entropy
        if rule["level"] == "sequence":
            spread = mean([tokens[each].entropy for each in kept])
        return math.exp(rule["sign"] * spread)
    if name == "iw":
        return _iw(rule, tokens, kept, place, there)
    if name == "margin":
        sure = 1.0 if rule["expert"] == "one_hot" else max(there[place].distribution)
        return min(1.0, max(0.0, sure - max(token.distribution)))
    assert name == "adaptive", f"weighting={name} has no formula here"
    spread = 0.0 if rule["expert"] == "one_hot" else there[place].entropy
    return (1 - spread / math.log(size)) * (1 - line.signal / 2)


def _iw(
    rule: Settings, tokens: list[Token], kept: list[int], place: int, there: list[Any]
) -> float:
    scale, low, high = {"token": (1.0, 0.2, 1.8), "sequence": (2.0, 0.0, 16.0)}[rule["level"]]
    scale, low, high = (
        otherwise if rule[key] is None else rule[key]
        for key, otherwise in (("scale", scale), ("low", low), ("high", high))
    )
    gaps = {each: number(tokens[each].logprob() - there[each].logprob()) for each in kept}
    gap = gaps[place] if rule["level"] == "token" else mean(list(gaps.values()))
    return min(high, max(low, math.exp(scale * gap)))


def _top(rho: float, lines: Sequence[Line], looks: Sequence[list[Token]]) -> list[list[float]]:
    """1 for the share rho of tokens with the highest entropy; of equal ones for the earlier."""
    places = [
        (row, place)
        for row, line in enumerate(lines)
        for place, counts in enumerate(line.counts)
        if counts
    ]
    # Equal to five decimals is equal.
    places.sort(key=lambda at: -round(looks[at[0]][at[1]].entropy * 1e5))
    chosen = set(places[: math.ceil(rho * len(places) - 1e-9)])
    return [
        [float((row, place) in chosen) for place in range(len(line.answer))]
        for row, line in enumerate(lines)
    ]
