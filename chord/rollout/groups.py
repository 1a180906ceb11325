"""The responses to a problem: the expert's part, the policy's part, and the grade of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from chord.data.batch import Problem
from chord.distributed.collectives import all_rows, rank
from chord.losses import group_signal
from chord.rewards import Grade
from chord.rollout.prefix import Given, Stage


@dataclass(eq=False)
class Answer:
    """A member of a group: the part that an expert wrote, then the part that the policy sampled.

    `text` is the part that is graded: the last turn if there are several.
    """

    given: Given
    sampled: list[int]
    logprobs: Tensor
    """The policy's; if the policy itself was the sampler, those at sampling time."""
    entropies: Tensor
    """Entropies of the distribution that each token was sampled from."""
    entropies_at_one: Tensor
    """The same at temperature 1."""
    finished: bool
    text: str
    sampler_logprobs: Tensor
    """The sampler's."""
    grade: Grade | None = None
    """None until it is graded."""
    styled: bool | None = None
    """Whether it is in the expert's style; None if the data can't tell."""
    prefix: str = ""
    """The part of the text that the expert wrote."""
    penalty: float = 0.0
    """How much its reward is lowered: a KL, if that goes into the reward."""

    @property
    def length(self) -> int:
        """The number of its tokens, without those of other speakers' turns."""
        return self.given.count + len(self.sampled)

    @property
    def graded(self) -> Grade:
        """Its grade; every member of a finished group has one."""
        assert self.grade is not None, "an answer joins its group when it is graded"
        return self.grade


@dataclass(eq=False)
class Group:
    """A problem and the responses to it so far."""

    problem: Problem
    prompt: list[int]
    expert: Given
    """The expert's response with its end token; empty if none is read."""
    stages: list[Stage]
    redraw: int = 0
    """Which of the step's rounds drew it."""
    answers: list[Answer] = field(default_factory=list)
    aside: list[Answer] = field(default_factory=list)
    """The policy's responses without a prefix, sampled because all of `answers` have one."""

    @property
    def solved(self) -> float:
        """The mean score of the responses so far."""
        return sum(answer.graded.score for answer in self.answers) / max(1, len(self.answers))

    @property
    def own(self) -> list[Answer]:
        """The policy's own responses, neither the expert's nor with a prefix: the first responses
        of the group, equally many for every problem; none if all of them have a prefix.
        """
        plain = takewhile(lambda stage: stage.share == 0, self.stages)
        first = sum(stage.count for stage in plain)
        if first:
            return self.answers[:first]
        unaided = not any(answer.given.count for answer in self.answers)
        return self.answers if unaided else self.aside

    @property
    def told_apart(self) -> bool:
        """Whether the verifier's scores differ."""
        return _differ([answer.graded.score for answer in self.answers])

    @property
    def rewarded_apart(self) -> bool:
        """Whether rewards differ: scores, or terms for form or length."""
        return _differ([answer.graded.reward for answer in self.answers])


def _differ(values: Sequence[float]) -> bool:
    return bool(group_signal(torch.tensor(values, dtype=torch.float64)))


class Batch:
    """The groups that a step trains on: the first ones of all ranks, up to a number.

    Groups of one call of `add` count in rank order, after those of earlier calls.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.kept: list[Group] = []
        self.count = 0
        """The number of groups of all ranks, including those without a place."""

    @property
    def full(self) -> bool:
        """Whether no place is left."""
        return self.count >= self.wanted

    def add(self, groups: Sequence[Group]) -> None:
        """Take this rank's groups among the next ones, as far as there are places."""
        counts = all_rows(torch.tensor([len(groups)]))[0].tolist()
        self.kept += groups[: max(0, self.wanted - self.count - sum(counts[: rank()]))]
        self.count += sum(counts)
