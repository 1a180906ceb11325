"""The objectives: variants of each, and the loss of one answer's tokens in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from chord.config.registry import SCHEMAS
from chord.losses import Cispo, Grpo, Gspo, Objective, Reinforce

Values = list[float]


class Row(NamedTuple):
    """What the tests know of an objective.

    `variants`: as it comes, then with other settings. `loop`: the losses of one answer's tokens by
    the objective, log-probabilities, old ones and advantages. `frozen`: the loss as a function of
    the log-probabilities with what the formula detaches held constant; None if it detaches nothing.
    """

    variants: list[Objective]
    loop: Callable[[Any, Values, Values, Values], Values]
    frozen: Callable[[Any, Tensor, Tensor, Tensor], Callable[[Tensor], Tensor]] | None = None


def ratio_of(difference: float) -> float:
    return math.exp(min(max(difference, -20.0), 20.0))


def clip(objective: Any, ratio: float) -> float:
    return min(max(ratio, 1 - objective.clip_low), 1 + objective.clip_high)


def grpo(objective: Any, logprobs: Values, old: Values, advantages: Values) -> Values:
    losses = []
    for logprob, before, a in zip(logprobs, old, advantages, strict=True):
        r = ratio_of(logprob - before)
        capped = r if objective.delta is None else min(r, objective.delta)
        surrogate = min(capped * a, clip(objective, r) * a)
        if objective.dual_clip is not None and a < 0:
            surrogate = max(surrogate, objective.dual_clip * a)
        losses.append(-surrogate)
    return losses


def reinforce(objective: Any, logprobs: Values, old: Values, advantages: Values) -> Values:
    return [-a * logprob for logprob, a in zip(logprobs, advantages, strict=True)]


def gspo(objective: Any, logprobs: Values, old: Values, advantages: Values) -> Values:
    gaps = [logprob - before for logprob, before in zip(logprobs, old, strict=True)]
    s = ratio_of(sum(gaps) / max(1, len(gaps)))
    return [-min(s * a, clip(objective, s) * a) for a in advantages]


def cispo(objective: Any, logprobs: Values, old: Values, advantages: Values) -> Values:
    return [
        -min(ratio_of(logprob - before), objective.ratio_max) * a * logprob
        for logprob, before, a in zip(logprobs, old, advantages, strict=True)
    ]


def cispo_frozen(
    objective: Any, at: Tensor, old: Tensor, advantages: Tensor
) -> Callable[[Tensor], Tensor]:
    weight = -(at - old).exp().clamp(max=objective.ratio_max).detach() * advantages[:, None]
    return lambda logprobs: weight * logprobs


ROWS: dict[str, Row] = {
    "grpo": Row([Grpo(), Grpo(clip_high=0.28), Grpo(dual_clip=1.5), Grpo(delta=1.4)], grpo),
    "reinforce": Row([Reinforce()], reinforce),
    "gspo": Row([Gspo(), Gspo(clip_low=0.1, clip_high=0.05)], gspo),
    "cispo": Row([Cispo(), Cispo(ratio_max=1.1)], cispo, cispo_frozen),
}


def name_of(objective: Objective) -> str:
    return next(n for n, schema in SCHEMAS["objective"].items() if schema is type(objective))


def loop(objective: Objective, *rows: Values) -> Values:
    return ROWS[name_of(objective)].loop(objective, *rows)
