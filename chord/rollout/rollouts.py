"""A step's rollouts: the rows that are trained on, and the policy's own responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chord.data.batch import Problem
from chord.distributed.collectives import all_rows, all_sum, joined
from chord.rewards import Failure, count_failures
from chord.rollout.observed import group_metrics
from chord.rollout.rows import RolloutRows

if TYPE_CHECKING:
    from chord.rollout.groups import Group
    from chord.rollout.observed import Observed


def failure_metrics(failures: Sequence[Failure | None]) -> dict[str, float]:
    """`count_failures` over all ranks."""
    counts = count_failures(failures)
    totals = all_sum(torch.tensor(list(counts.values()))).tolist()
    return dict(zip(counts, map(float, totals), strict=True))


@dataclass
class Rollouts:
    """The N = P * K responses that a step trains on, by problem; scores and rewards are (P, K).

    `scores` are the verifier's. `rewards` are what the advantages are computed from, with a format
    term and a KL penalty if those are on. Some responses may be an expert's or continue an expert
    prefix, and groups without a signal may have been replaced. The policy's own responses are in
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
    """(P,) the index of each group's problem among those drawn for the step on this rank."""
    first: list[Group]
    """This rank's groups of the first round, trained on or not: shown as examples."""
    selected: bool = False
    """Whether what is trained on can differ from what is observed."""
    kl: float | None = None
    """Mean per token, if it is part of the reward."""
    rounds: int = 1
    """The number of rounds of problems, with `objective.resample`."""
    failures: Sequence[Failure | None] | None = None
    """Why responses could not be scored; None if that can't happen."""
    mismatch: dict[str, float] = field(default_factory=dict)
    """The mismatch between the policy and the sampler."""

    @property
    def group_problems(self) -> list[Problem]:
        """The problem of each group (P,)."""
        return self.problems[:: self.scores.shape[1]]

    def metrics(self) -> dict[str, float]:
        """Metrics of what the policy does, and of what is trained on, if the two can differ."""
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
        """The first `count` responses of all ranks, with everything that decides their gradient."""
        size, shown = self.scores.shape[1], []
        for number, group in enumerate(self.first):
            place = self.places.index(number) if number in self.places else None
            for k, answer in enumerate(group.answers):
                row = None if place is None else place * size + k
                shown.append(
                    {
                        "key": group.problem.key,
                        "problem": group.problem.prompt,
                        "answer": group.problem.answer,
                        "response": answer.text,
                        "given": answer.prefix,
                        "score": answer.graded.score,
                        "reward": answer.graded.reward - answer.penalty,
                        "advantage": None if row is None else float(self.rows.advantages[row]),
                        "finished": answer.finished,
                        "tokens": answer.length,
                        "expert_style": answer.styled,
                    }
                )
        return joined(shown[:count])[:count]
