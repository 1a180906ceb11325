"""What a step's rollouts were: the rows that are trained on, and what the policy did by itself."""

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
