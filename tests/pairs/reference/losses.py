"""The loss of a token: objectives, KL terms, and targets of imitation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pairs.reference.look import Token, number

Settings = dict[str, Any]
LIMIT = 20.0
NOTHING = 1e-12
"""An advantage that is 0 but for rounding."""


def held(value: float) -> float:
    return min(LIMIT, max(-LIMIT, value))


def objective(
    s: Settings, name: str, logprobs: Sequence[Tensor], old: Sequence[float], advantage: float
) -> tuple[list[Tensor], dict[str, float]]:
    """The losses of one answer's own tokens, and sums over them for the log."""
    gaps = [number(new) - before for new, before in zip(logprobs, old, strict=True)]
    ratios = [math.exp(held(gap)) for gap in gaps]
    sums = {"approx_kl": math.fsum(r - 1 - math.log(r) for r in ratios), "ratio": math.fsum(ratios)}
    if name == "reinforce":
        return [-advantage * logprob for logprob in logprobs], sums
    if name == "cispo":
        capped = [min(r, s["ratio_max"]) for r in ratios]
        sums["clip_fraction"] = float(sum(r > s["ratio_max"] for r in ratios))
        pairs = zip(logprobs, capped, strict=True)
        return [-weight * advantage * logprob for logprob, weight in pairs], sums
    sums["clip_fraction"] = 0.0
    if abs(advantage) < NOTHING and s["clip_low"] < 1:
        # Which of two zeros is the smaller one is a matter of rounding.
        outside = [not 1 - s["clip_low"] <= r <= 1 + s["clip_high"] for r in ratios]
        sums["undecided"] = float(len(ratios) if name == "gspo" else sum(outside))
    if name == "gspo":
        if not logprobs:
            return [], sums
        differences = [new - before for new, before in zip(logprobs, old, strict=True)]
        whole = (sum(differences[1:], differences[0]) / len(differences)).exp()
        loss, clipped, _ = surrogate(s, whole, advantage)
        sums["ratio"] = number(whole) * len(logprobs)
        sums["clip_fraction"] = float(clipped) * len(logprobs)
        return [loss] * len(logprobs), sums
    assert name == "grpo", f"objective={name} has no formula here"
    losses = []
    if s["dual_clip"] is not None:
        sums["dual_clip_fraction"] = 0.0
    for new, before in zip(logprobs, old, strict=True):
        loss, clipped, floored = surrogate(s, (new - before).exp(), advantage)
        losses.append(loss)
        sums["clip_fraction"] += clipped
        if s["dual_clip"] is not None:
            sums["dual_clip_fraction"] += floored
    return losses, sums


def surrogate(s: Settings, ratio: Tensor, advantage: float) -> tuple[Tensor, bool, bool]:
    """-min(r A, clip(r) A) with its two caps; whether the clip and the floor counted."""
    nothing = torch.zeros((), dtype=ratio.dtype)
    delta, dual = s.get("delta"), s.get("dual_clip")
    plain = ratio * advantage
    if delta is not None and number(ratio) > delta:
        plain = nothing + delta * advantage
    low, high = 1 - s["clip_low"], 1 + s["clip_high"]
    inside = low <= number(ratio) <= high
    clipped = ratio * advantage
    if not inside:
        clipped = nothing + min(high, max(low, number(ratio))) * advantage
    counted = number(clipped) < number(plain)
    value = clipped if counted else plain
    floored = dual is not None and advantage < 0 and number(value) < dual * advantage
    if floored:
        assert dual is not None
        value = nothing + dual * advantage
    return -value, counted, floored


def kl(s: Settings, token: Token, other: Token, temperature: float) -> Tensor:
    """KL of one token's distribution to another model's, by the estimator asked for."""
    if s["estimator"] == "exact":
        here, there = token.logprobs(temperature), other.logprobs(temperature).detach()
        if s["direction"] == "to_policy":
            return (there.exp() * (there - here)).sum()
        return (here.exp() * (here - there)).sum()
    log = token.logprob(temperature) - other.logprob(temperature).detach()
    if s["estimator"] == "k1":
        return log
    if s["estimator"] == "k2":
        return log * log / 2
    assert s["estimator"] == "k3", f"objective.kl.estimator={s['estimator']} has no formula here"
    return (-log).exp() - 1 + log


def imitation(s: Settings, name: str, token: Token, teacher: Token | None) -> Tensor:
    """The loss of a token that is imitated."""
    if name == "tokens":
        return -token.logprob()
    assert teacher is not None
    temperature = s["temperature"]
    student, expert = token.logprobs(temperature), teacher.logprobs(temperature).detach()
    if name == "soft":
        return (expert.exp() * (expert - student)).sum()
    if name == "reverse_kl" and s["estimator"] == "exact":
        return (student.exp() * (student - expert)).sum()
    if name == "reverse_kl":
        advantage = number(expert[token.target]) - number(student[token.target])
        return -advantage * student[token.target]
    assert name == "jsd", f"target={name} has no formula here"
    beta = s["beta"]
    mixture = (beta * expert.exp() + (1 - beta) * student.exp()).log()
    to_teacher = (expert.exp() * (expert - mixture)).sum()
    return beta * to_teacher + (1 - beta) * (student.exp() * (student - mixture)).sum()
