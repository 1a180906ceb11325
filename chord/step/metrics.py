"""Metrics from what a step saw: plain functions of detached tensors."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from chord.distributed.collectives import all_sum
from chord.step.rows import TokenLog

# By the policy's probability of the expert's token: hopeless, rare, uncertain, likely, known.
BUCKETS = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)


def weight_metrics(weights: Tensor, probabilities: Tensor) -> dict[str, float]:
    """The mean weight, the mean weight by probability bucket, and the effective sample size.

    weights and probabilities (N,). ess = (sum w)^2 / (N sum w^2), in (0, 1]: 1 if all weights are
    equal (Kish, 1965). Empty buckets are absent. For weights (1, 3): mean 2, ess .8.
    """
    if weights.numel() == 0:
        return {}
    w, p = weights.double(), probabilities.double()
    metrics = {"weight/mean": float(w.mean())}
    squares = float(w.square().sum())
    if squares > 0:
        metrics["weight/ess"] = float(w.sum().square()) / (w.numel() * squares)
    for low, high in pairwise(BUCKETS):
        inside = (p >= low) & ((p < high) if high < 1 else (p <= high))
        if inside.any():
            metrics[f"weight/p_{low:.2f}_{high:.2f}"] = float(w[inside].mean())
    return metrics


def gradient_metrics(
    sft: list[Tensor], rl: list[Tensor], *, sharded: bool = False
) -> dict[str, float]:
    """Norms of the two branches' gradients, each with its share, and their cosine.

    Lists of tensors, one for each parameter; `sharded`: each rank has a part of each. For (3, 4)
    and (4, 3): norms 5 and 5, cosine .96. If a gradient is zero, it has no direction and the cosine
    is absent.
    """
    a = torch.cat([g.detach().flatten().double() for g in sft])
    b = torch.cat([g.detach().flatten().double() for g in rl])
    products = torch.stack([a @ a, b @ b, a @ b])
    aa, bb, ab = (all_sum(products) if sharded else products).tolist()
    metrics = {"grad/sft_norm": math.sqrt(aa), "grad/rl_norm": math.sqrt(bb)}
    if aa > 0 and bb > 0:
        metrics["grad/cosine"] = ab / (math.sqrt(aa) * math.sqrt(bb))
    return metrics


def branch_metrics(
    shares: tuple[float, float], sft: TokenLog | None, rl: TokenLog | None, *, own: bool = False
) -> dict[str, float]:
    """Losses, weights and token statistics of the branches over all ranks.

    A skipped branch is absent, not 0. `own`: the SFT branch is on the policy's own samples, which
    say nothing about the expert's tokens. An RL branch without any token, because all rollouts are
    cut off and masked, has a loss but no means.
    """
    metrics = {"loss/total": 0.0}
    if sft is not None:
        sft = sft.of_all_ranks()
        logprobs, imitated = torch.cat(sft.logprobs), "own" if own else "expert"
        metrics |= weight_metrics(torch.cat(sft.weights), logprobs.exp())
        metrics |= {
            f"{imitated}/nll": float(-logprobs.mean()),
            f"{imitated}/mean_p": float(logprobs.exp().mean()),
            "loss/sft": sft.loss,
            "loss/sft_share": shares[0] * sft.loss,
            "tokens/sft": float(logprobs.numel()),
        }
        metrics["loss/total"] += metrics["loss/sft_share"]
    if rl is not None:
        rl = rl.of_all_ranks()
        count = sum(part.numel() for part in rl.logprobs)
        metrics |= {
            "loss/rl": rl.loss,
            "loss/rl_share": shares[1] * rl.loss,
            "tokens/rl": float(count),
        }
        if count > 0:
            metrics |= {
                "trained/entropy": float(torch.cat(rl.entropy).mean()),
                **{f"rl/{name}": value / count for name, value in rl.sums.items()},
            }
            if rl.sampled:
                gap = torch.cat(rl.logprobs) - torch.cat(rl.sampled)
                metrics["rl/logprob_gap"] = float(gap.abs().max())
            if rl.kl:
                metrics["rl/kl"] = float(torch.cat(rl.kl).mean())
        if rl.off_logprobs:
            logprobs, weights = torch.cat(rl.off_logprobs), torch.cat(rl.off_weights)
            metrics["tokens/off_policy"] = float(logprobs.numel())
            if logprobs.numel():
                metrics["off_policy/nll"] = float(-logprobs.mean())
                metrics["off_policy/weight_mean"] = float(weights.mean())
        metrics["loss/total"] += metrics["loss/rl_share"]
    return metrics
