"""Numbers for the log, from what a step saw: plain functions of detached tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chord.data.batch import Problem
from chord.distributed import all_rows, all_sum, joined
from chord.gradients import RolloutRows, Tokens
from chord.rewards import Failure, count_failures

if TYPE_CHECKING:
    from chord.rollout.groups import Group
    from chord.rollout.observed import Observed

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


def group_metrics(scores: Tensor, *, prefix: str = "rollout") -> dict[str, float]:
    """Shares of groups in which all answers, or none, are right: their scores carry no signal.

    scores (P problems, K answers) in [0, 1]. For ((1, 1), (0, 1)): all right .5, all wrong 0.
    """
    return {
        f"{prefix}/all_right": float((scores >= 1).all(dim=1).double().mean()),
        f"{prefix}/all_wrong": float((scores <= 0).all(dim=1).double().mean()),
    }


def failure_metrics(failures: Sequence[Failure | None]) -> dict[str, float]:
    """`count_failures` over all ranks."""
    counts = count_failures(failures)
    totals = all_sum(torch.tensor(list(counts.values()))).tolist()
    return dict(zip(counts, map(float, totals), strict=True))


def gradient_metrics(
    sft: list[Tensor], rl: list[Tensor], *, sharded: bool = False
) -> dict[str, float]:
    """Norms of the two branches' gradients, each with its share, and their cosine.

    Lists of tensors, one for each parameter; `sharded`: each rank has a part of each. For (3, 4)
    and (4, 3): norms 5 and 5, cosine .96. A gradient of zero has no direction: the cosine is
    absent.
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
    shares: tuple[float, float], sft: Tokens | None, rl: Tokens | None, *, own: bool = False
) -> dict[str, float]:
    """Losses, weights and token statistics of the branches over all ranks.

    A skipped branch is absent, not 0.
    `own`: the tokens imitated are the policy's own samples, and say nothing about the expert's.
    An RL branch without a token, all answers being cut off and masked, has a loss and no means.
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


@dataclass
class Rollouts:
    """The answers that a step trains on, problem by problem, N = P * K; scores and rewards (P, K).

    `scores` are the verifier's, `rewards` what the advantages are made of: with a format term and
    a KL penalty where those are on. Some of them may be an expert's, or start from a part of an
    expert's; groups without a signal may have been replaced. What the policy does by itself is in
    `observed`.
    """

    rows: RolloutRows
    problems: list[Problem]
    texts: list[str]
    finished: list[bool]
    scores: Tensor
    rewards: Tensor
    observed: Observed
    places: list[int]
    """(P,) which of our problems drawn for the step each group's is."""
    first: list[Group]
    """Our groups of the first round, trained on or not: what is shown as examples."""
    selected: bool = False
    """Whether what is trained on may be other than what is observed."""
    kl: float | None = None
    """Mean per token, where it is a part of the reward."""
    rounds: int = 1
    """How many rounds of problems it took, with `objective.resample`."""
    failures: Sequence[Failure | None] | None = None
    """Why an answer could not be scored; None where that can't happen."""
    mismatch: dict[str, float] = field(default_factory=dict)
    """How far the policy is from what sampled."""

    @property
    def group_problems(self) -> list[Problem]:
        """The problem of each group (P,)."""
        return self.problems[:: self.scores.shape[1]]

    def metrics(self) -> dict[str, float]:
        """What the policy does, and beside it what is trained on where that may differ."""
        return {
            **self.observed.metrics(),
            **(self._trained() if self.selected else {}),
            **({} if self.kl is None else {"rl/kl": self.kl}),
            **({} if self.failures is None else failure_metrics(self.failures)),
            **self.mismatch,
        }

    def _trained(self) -> dict[str, float]:
        table = all_rows(torch.stack([self.rewards, self.scores], dim=-1))[0]
        drawn = all_sum(torch.tensor(len(self.observed.problems)))
        rewards, scores = table.unbind(dim=-1)
        return {
            "rollout/problems": float(drawn),
            "trained/problems": float(len(scores)),
            "trained/reward": float(rewards.mean()),
            "trained/score": float(scores.mean()),
            **group_metrics(scores, prefix="trained"),
        }

    def completions(self, count: int) -> list[dict[str, Any]]:
        """The first `count` answers of all ranks, with all that decided their gradient."""
        size, shown = self.scores.shape[1], []
        for number, group in enumerate(self.first):
            place = self.places.index(number) if number in self.places else None
            for k, answer in enumerate(group.answers):
                row = None if place is None else place * size + k
                shown.append(
                    {
                        "problem": group.problem.prompt,
                        "answer": group.problem.answer,
                        "response": answer.text,
                        "given": answer.prefix,
                        "score": answer.graded.score,
                        "reward": answer.graded.reward - answer.penalty,
                        "advantage": None if row is None else float(self.rows.advantages[row]),
                        "finished": answer.finished,
                        "expert_style": answer.styled,
                    }
                )
        return joined(shown[:count])[:count]
