"""The mismatch between the policy that is trained and the engine that sampled.

Both have the same weights, but different code, precision or order of summation gives a different
distribution: responses are sampled from q, while the gradient is computed as if from p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chord.distributed.collectives import all_max, all_sum
from chord.losses.kl import LOG_RATIO_LIMIT


def truncated_weights(logprobs: Tensor, sampler_logprobs: Tensor, *, cap: float) -> Tensor:
    """w = min(p / q, cap) of each sampled token, without gradient; all tensors have one shape.

    p is the policy's probability before its first update on the responses and q the engine's, both
    of the whole distribution at the sampling temperature. This is truncated importance sampling
    (Ionides, 2008, doi 10.1198/106186008X320456), token by token as in Yao et al. (2025), "Your
    efficient RL framework secretly brings you off-policy RL training"; a cap of 2 is common. The
    cap trades bias for variance: without it, E_q[w f] = E_p[f] for the next token, given the tokens
    before it, whose own distribution is still q's.

    ln p = -1 and ln q = -1.5 give e^.5 = 1.64872; q = p / 4 gives 4, or 2 with a cap of 2.
    """
    ratios = (logprobs - sampler_logprobs).detach().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return ratios.exp().clamp(max=cap)


@dataclass
class Mismatch:
    """A step's mismatch: its metrics, and its tokens' weights (N,) if they are to be corrected."""

    metrics: dict[str, float]
    weights: Tensor | None


def compare(
    logprobs: Tensor, sampler_logprobs: Tensor, *, threshold: float, cap: float
) -> Mismatch:
    """Measure the step's mismatch, and correct it if the mean |d| is at least `threshold`."""
    metrics = mismatch_metrics(logprobs, sampler_logprobs)
    if metrics.get("rollout/mismatch_mean", 0.0) < threshold:
        return Mismatch(metrics, None)
    weights = truncated_weights(logprobs, sampler_logprobs, cap=cap)
    capped = weights >= cap
    counts = [weights.double().sum(), capped.sum(), torch.tensor(weights.numel())]
    total, held, count = all_sum(torch.stack([each.double() for each in counts])).tolist()
    metrics |= {
        "rollout/correction_mean": total / max(1, count),
        "rollout/correction_capped": held / max(1, count),
    }
    return Mismatch(metrics, weights)


def mismatch_metrics(logprobs: Tensor, sampler_logprobs: Tensor) -> dict[str, float]:
    """The differences between log p and log q (N,) at the sampled tokens of all ranks.

    With d = ln p - ln q: mean and largest |d|, the mean ratio e^d, whose expectation is 1, and the
    mean of e^d - 1 - d, an estimate of KL(q || p). Empty if there are no tokens.
    For d = (ln 2, 0): .34657, .69315, 1.5, .15343.
    """
    logs = (logprobs - sampler_logprobs).detach().double()
    logs = logs.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratios = logs.exp()
    count = torch.full((), logs.numel(), dtype=torch.float64, device=logs.device)
    sums = all_sum(
        torch.stack([logs.abs().sum(), ratios.sum(), (logs.expm1() - logs).sum(), count])
    )
    largest = all_max(logs.abs().amax() if logs.numel() else torch.zeros_like(count))
    total = float(sums[3])
    if total == 0:
        return {}
    mean, ratio, kl = (float(value) / total for value in sums[:3])
    return {
        "rollout/mismatch_mean": mean,
        "rollout/mismatch_max": float(largest),
        "rollout/mismatch_ratio": ratio,
        "rollout/mismatch_kl": kl,
    }
