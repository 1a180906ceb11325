"""Losses of the two branches, how they are averaged and mixed, and KL penalties.

`aggregation` sums token losses over the whole optimizer step, `objectives` has the RL losses, `kl`
the penalty terms, and `unified` the unified objective as it is usually printed.
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
