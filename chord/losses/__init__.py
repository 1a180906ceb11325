"""Losses: the two branches, how they are averaged and mixed, and the pull towards another model.

`aggregation` sums token losses over the whole optimizer step, `objectives` holds the RL losses,
`kl` the penalty terms, `unified` the printed formula of the unified objective.
"""

from __future__ import annotations

from chord.losses.aggregation import aggregate, denominator, mix, sft_loss, weighted_loss
from chord.losses.kl import Kl, kl_estimate, kl_exact
from chord.losses.objectives import (
    Cispo,
    Grpo,
    Gspo,
    Objective,
    Reinforce,
    group_signal,
    token_entropy,
)
from chord.losses.unified import unified_objective

__all__ = [
    "Cispo",
    "Grpo",
    "Gspo",
    "Kl",
    "Objective",
    "Reinforce",
    "aggregate",
    "denominator",
    "group_signal",
    "kl_estimate",
    "kl_exact",
    "mix",
    "sft_loss",
    "token_entropy",
    "unified_objective",
    "weighted_loss",
]
