"""Token weights, by name: docs/methods.md, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from rows.weightings import ROWS

from pairs.reference.look import Line, Models, Token, mean, number

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
    if (plain := ROWS[name].plain) is not None:
        return plain(rule, token)
    if name == "top_entropy":
        return 0.0
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
