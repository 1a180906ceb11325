"""Numbers for the log, from what a step saw: plain functions of detached tensors."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

# By the policy's probability of the expert's token: hopeless, rare, unsure, likely, known.
BUCKETS = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)


def weight_metrics(weights: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Mean weight, its mean by probability bucket, and the effective sample size's share.

    weights and probabilities (N,). ess = (sum w)^2 / (N sum w^2), in (0, 1]: 1 where all weights
    are equal (Kish, 1965). An empty bucket is absent. For weights (1, 3): mean 2, ess .8.
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


def group_metrics(scores: Tensor) -> dict[str, float]:
    """Shares of groups in which all answers, or none, are right: they carry no signal.

    scores (P problems, K answers) in [0, 1]. For ((1, 1), (0, 1)): all right .5, all wrong 0.
    """
    return {
        "rollout/all_right": float((scores >= 1).all(dim=1).double().mean()),
        "rollout/all_wrong": float((scores <= 0).all(dim=1).double().mean()),
    }


def gradient_metrics(sft: list[Tensor], rl: list[Tensor]) -> dict[str, float]:
    """Norms of the two branches' gradients, each with its share, and their cosine.

    Lists of tensors, one for each parameter. For (3, 4) and (4, 3): norms 5 and 5, cosine .96. A
    gradient of zero has no direction: the cosine is absent.
    """
    a = torch.cat([g.detach().flatten().double() for g in sft])
    b = torch.cat([g.detach().flatten().double() for g in rl])
    norm_a, norm_b = float(a.norm()), float(b.norm())
    metrics = {"grad/sft_norm": norm_a, "grad/rl_norm": norm_b}
    if norm_a > 0 and norm_b > 0:
        metrics["grad/cosine"] = float(a @ b) / (norm_a * norm_b)
    return metrics
