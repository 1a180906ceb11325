"""The unified objective as it is usually printed: for comparison, not for training.

It is a widely copied description of the method, not the paper's own. Its RL branch has no gradient
from the rewards, because they are added as constants. The intended loss, log-probability times
advantage with a KL penalty against drift, is `Reinforce` with
`Kl(coef=0.1, to="teacher", estimator="exact", direction="to_policy")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.losses.kl import kl_exact
from chord.weightings import token_logprobs

if TYPE_CHECKING:
    from torch import Tensor


def unified_objective(
    logits: Tensor,
    expert_logits: Tensor,
    rewards: Tensor,
    *,
    alpha: float,
    weights: Tensor | None = None,
    kl_coef: float = 0.1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """alpha mean(w CE(argmax Q)) + (1 - alpha) mean(w (-reward + kl_coef KL(Q || P))).

    P are the probabilities of logits (B, T, V), Q those of expert_logits (B, T, V). rewards are (B,
    T), or (B,) for all tokens of a row. weights are (B, T), or None for 1, and always detached.
    Means are over all B T positions; there is no mask. Returns the total and the metrics
    `sft_loss`, `rl_loss` and `total_loss`. Unlike the printed formula, it is finite for logits
    hundreds apart.

    One position, V = 2, P = (.5, .5), Q = (.75, .25), reward 1, alpha .5: sft ln 2 = .69315,
    rl -1 + .1 * .13081 = -.98692, total -.14688.
    """
    target = expert_logits.detach().argmax(dim=-1)
    nll = -token_logprobs(logits, target)
    kl = kl_exact(logits, expert_logits.detach(), direction="to_policy")
    reward = rewards.detach().to(logits.dtype)
    rl = kl_coef * kl - (reward.unsqueeze(-1) if reward.dim() < nll.dim() else reward)
    if weights is not None:
        nll, rl = nll * weights.detach(), rl * weights.detach()
    sft_loss, rl_loss = nll.mean(), rl.mean()
    total = alpha * sft_loss + (1 - alpha) * rl_loss
    return total, {
        "sft_loss": sft_loss.detach(),
        "rl_loss": rl_loss.detach(),
        "total_loss": total.detach(),
    }
