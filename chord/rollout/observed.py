"""The policy's own responses to all problems of a step, whatever the step trains on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chord.data.batch import Problem
from chord.distributed.collectives import all_rows


@dataclass
class Observed:
    """The policy's own responses to the problems drawn for a step: M problems, K responses each.

    None contains anything that an expert wrote, and no problem is left out because its group has no
    signal. Schedules, gates and the metrics `rollout/*` read these. M is 0 if all rollouts have an
    expert prefix and no schedule or gate needs others.
    """

    problems: list[Problem]
    rounds: Tensor
    """(M,) the round of the step that drew each problem."""
    scores: Tensor
    """(M, K) the verifier's scores."""
    rewards: Tensor
    """(M, K) with terms for form and length, and a KL penalty if that goes into the reward."""
    advantages: Tensor
    """(M, K) relative to all responses of the group, or to all drawn ones for `batch`."""
    lengths: Tensor
    """(M, K) in tokens."""
    finished: Tensor
    """(M, K) bool."""
    styled: Tensor
    """(M, K) 1 in the expert's style, 0 not, NaN if the data can't tell."""
    entropies: Tensor
    """(tokens,) of the distribution that each was sampled from, at the sampling temperature."""
    entropies_at_one: Tensor
    """(tokens,) the same at temperature 1."""

    def metrics(self) -> dict[str, float]:
        """Means over all ranks; empty if nothing was observed."""
        columns = (self.rewards, self.scores, self.lengths, self.finished, self.styled)
        # (M, K, 5), of every rank's problems
        table = all_rows(torch.stack([column.double() for column in columns], dim=-1))[0]
        entropies = all_rows(self.entropies_at_one.double())[0]
        if not table.numel():
            return {}
        rewards, scores, lengths, finished, manner = table.unbind(dim=-1)
        known = not bool(manner.isnan().any())
        return {
            "rollout/reward": float(rewards.mean()),
            "rollout/reward_std": float(rewards.std()),
            "rollout/score": float(scores.mean()),
            "rollout/length": float(lengths.mean()),
            "rollout/no_eos": 1 - float(finished.mean()),
            **({"rollout/expert_style": float(manner.mean())} if known else {}),
            **({"rollout/entropy": float(entropies.mean())} if entropies.numel() else {}),
            **group_metrics(scores),
        }


def group_metrics(scores: Tensor, *, prefix: str = "rollout") -> dict[str, float]:
    """Shares of groups in which all responses, or none, are right: their scores have no signal.

    scores (P problems, K responses) in [0, 1]. For ((1, 1), (0, 1)): all right .5, all wrong 0.
    """
    return {
        f"{prefix}/all_right": float((scores >= 1).all(dim=1).double().mean()),
        f"{prefix}/all_wrong": float((scores <= 0).all(dim=1).double().mean()),
    }
