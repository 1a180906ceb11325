"""The objectives of the registry, as the tests know them.

Each has a row in `VARIANTS` and in `LOOPS`, its formula written out for one answer in plain Python.
What is detached in the formula is in `FROZEN` as a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from chord.config.registry import SCHEMAS
from chord.losses import Cispo, Grpo, Gspo, Objective, Reinforce

Row = list[float]
VARIANTS: dict[str, list[Objective]] = {
    "grpo": [Grpo(), Grpo(clip_high=0.28), Grpo(dual_clip=1.5), Grpo(delta=1.4)],
    "reinforce": [Reinforce()],
    "gspo": [Gspo(), Gspo(clip_low=0.1, clip_high=0.05)],
    "cispo": [Cispo(), Cispo(ratio_max=1.1)],
}


def ratio_of(difference: float) -> float:
    return math.exp(min(max(difference, -20.0), 20.0))


def clip(objective: Any, ratio: float) -> float:
    return min(max(ratio, 1 - objective.clip_low), 1 + objective.clip_high)


def grpo(objective: Any, logprobs: Row, old: Row, advantages: Row) -> Row:
    losses = []
    for logprob, before, a in zip(logprobs, old, advantages, strict=True):
        r = ratio_of(logprob - before)
        capped = r if objective.delta is None else min(r, objective.delta)
        surrogate = min(capped * a, clip(objective, r) * a)
        if objective.dual_clip is not None and a < 0:
            surrogate = max(surrogate, objective.dual_clip * a)
        losses.append(-surrogate)
    return losses


def reinforce(objective: Any, logprobs: Row, old: Row, advantages: Row) -> Row:
    return [-a * logprob for logprob, a in zip(logprobs, advantages, strict=True)]


def gspo(objective: Any, logprobs: Row, old: Row, advantages: Row) -> Row:
    gaps = [logprob - before for logprob, before in zip(logprobs, old, strict=True)]
    s = ratio_of(sum(gaps) / max(1, len(gaps)))
    return [-min(s * a, clip(objective, s) * a) for a in advantages]


def cispo(objective: Any, logprobs: Row, old: Row, advantages: Row) -> Row:
    return [
        -min(ratio_of(logprob - before), objective.ratio_max) * a * logprob
        for logprob, before, a in zip(logprobs, old, advantages, strict=True)
    ]


LOOPS: dict[str, Callable[[Any, Row, Row, Row], Row]] = {
    "grpo": grpo,
    "reinforce": reinforce,
    "gspo": gspo,
    "cispo": cispo,
}


def cispo_frozen(
    objective: Any, at: Tensor, old: Tensor, advantages: Tensor
) -> Callable[[Tensor], Tensor]:
    weight = -(at - old).exp().clamp(max=objective.ratio_max).detach() * advantages[:, None]
    return lambda logprobs: weight * logprobs


FROZEN = {"cispo": cispo_frozen}


def name_of(objective: Objective) -> str:
    return next(n for n, schema in SCHEMAS["objective"].items() if schema is type(objective))


def loop(objective: Objective, *rows: Row) -> Row:
    return LOOPS[name_of(objective)](objective, *rows)
