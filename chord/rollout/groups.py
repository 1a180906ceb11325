"""A problem's answers: what an expert gave, what the policy sampled, how each was graded."""

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
    """A member of a group: what the expert gave of it, then what the policy sampled.

    `text` is what is graded: of several turns the last.
    """

    given: Given
    sampled: list[int]
    logprobs: Tensor
    """As the policy has them; while it samples, if it has answered itself."""
    entropies: Tensor
    """Of the distribution each token was sampled from."""
    entropies_at_one: Tensor
    """The same at temperature 1."""
    finished: bool
    text: str
    sampler_logprobs: Tensor
    """As whatever sampled the tokens has them."""
    grade: Grade | None = None
    """Once it was graded."""
    styled: bool | None = None
    """Whether it is in the expert's manner; None where the data can't tell."""
    prefix: str = ""
    """What of the text the expert gave."""
    penalty: float = 0.0
    """What its reward is lowered by: a KL, where that goes into the reward."""

    @property
    def length(self) -> int:
        """Its tokens, those of others' turns left out."""
        return self.given.count + len(self.sampled)

    @property
    def graded(self) -> Grade:
        """Its grade, which every answer of a group has."""
        assert self.grade is not None, "an answer joins its group when it is graded"
        return self.grade


@dataclass(eq=False)
class Group:
    """A problem and its answers so far."""

    problem: Problem
    prompt: list[int]
    expert: Given
    """The expert's answer with its end token; empty where none is read."""
    stages: list[Stage]
    redraw: int = 0
    """Which of the step's rounds drew it."""
    answers: list[Answer] = field(default_factory=list)
    aside: list[Answer] = field(default_factory=list)
    """The policy's answers without an expert's help, sampled because all of `answers` have some."""

    @property
    def solved(self) -> float:
        """The mean score of the answers so far."""
        return sum(answer.graded.score for answer in self.answers) / max(1, len(self.answers))

    @property
    def own(self) -> list[Answer]:
        """What the policy answers by itself: no expert's answer, none that starts from a part of
        one. Its first answers, of every problem as many; none where all of them have a prefix.
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
    """The groups that a step trains on: the first ones, of all ranks, up to a number.

    Those of a call of `add` count in rank order, behind those of the calls before.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.kept: list[Group] = []
        self.count = 0
        """Of all ranks, with those that found no place."""

    @property
    def full(self) -> bool:
        """Whether no place is left."""
        return self.count >= self.wanted

    def add(self, groups: Sequence[Group]) -> None:
        """Take ours of the next groups as far as there is a place for them."""
        counts = all_rows(torch.tensor([len(groups)]))[0].tolist()
        self.kept += groups[: max(0, self.wanted - self.count - sum(counts[: rank()]))]
        self.count += sum(counts)
