"""The gradient of each branch, cut into micro-batches without changing it.

Both branches add `share * loss` to the parameters' gradients, dividing by counts taken over all
micro-batches and ranks before the first backward. They return what the log needs.
"""

from chord.gradients.experts import add_sft_gradient
from chord.gradients.rollouts import add_rl_gradient
from chord.gradients.rows import ExpertRows, Models, OffPolicy, RolloutRows, Tokens
from chord.gradients.terms import kl_in_reward, own_logprobs

__all__ = [
    "ExpertRows",
    "Models",
    "OffPolicy",
    "RolloutRows",
    "Tokens",
    "add_rl_gradient",
    "add_sft_gradient",
    "kl_in_reward",
    "own_logprobs",
]
