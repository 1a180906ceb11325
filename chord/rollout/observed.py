"""What a step shows of the policy, whatever it is trained on: its own answers to all problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chord.data.batch import Problem
from chord.distributed.collectives import all_rows


@dataclass
class Observed:
    """The policy's own answers to the problems drawn for a step: M problems, K answers to each.

    None has a word of an expert's in it, and no problem is left out because its answers carry no
    signal. Schedules, gates and the metrics `rollout/*` read these. M is 0 where all answers start
    from an expert's prefix and nobody has asked for others.
    """

    problems: list[Problem]
    rounds: Tensor
    """(M,) which of the step's rounds drew each."""
    scores: Tensor
    """(M, K) the verifier's."""
    rewards: Tensor
    """(M, K) with terms for form and length, and a KL penalty where that goes into the reward."""
    advantages: Tensor
    """(M, K) among all answers of the group, and of all drawn ones where the rule says `batch`."""
    lengths: Tensor
    """(M, K) in tokens."""
    finished: Tensor
    """(M, K) bool."""
    styled: Tensor
    """(M, K) 1 in the expert's manner, 0 not, NaN where the data can't tell."""
    entropies: Tensor
    """(tokens,) of the distribution each was sampled from, at the sampling temperature."""
    entropies_at_one: Tensor
    """(tokens,) the same at temperature 1."""

    def metrics(self) -> dict[str, float]:
        """Means over all ranks; nothing where nothing was observed."""
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
    """Shares of groups in which all answers, or none, are right: their scores carry no signal.

    scores (P problems, K answers) in [0, 1]. For ((1, 1), (0, 1)): all right .5, all wrong 0.
    """
    return {
        f"{prefix}/all_right": float((scores >= 1).all(dim=1).double().mean()),
        f"{prefix}/all_wrong": float((scores <= 0).all(dim=1).double().mean()),
    }
