"""RL objectives: a loss for every token of the policy's own samples.

They return token losses, which `aggregate` then averages, and metrics that are *sums* over the
tokens in the mask, so that pieces and ranks can be added before dividing by the token count. `base`
has what all objectives share, `clipped` the surrogates with a clipped ratio, and `reinforce` the
losses with the gradient of the log-probability.
"""

from __future__ import annotations

from chord.losses.objectives.base import Objective, group_signal, token_entropy
from chord.losses.objectives.clipped import Grpo, Gspo
from chord.losses.objectives.reinforce import Cispo, Reinforce

__all__ = ["Cispo", "Grpo", "Gspo", "Objective", "Reinforce", "group_signal", "token_entropy"]
