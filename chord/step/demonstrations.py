"""The SFT rows of a step: from the expert stream, a gate's problems, or the policy's samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import Pair, TokenBatch, collate_pairs, collated
from chord.distributed.collectives import part_of
from chord.models.teacher_cache import TeacherCache
from chord.rollout.rollouts import Rollouts
from chord.step.feedback import step_signal
from chord.step.rows import ExpertRows

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data
    from chord.models.models import Models


def open_cache(config: TrainConfig, data: Data) -> TeacherCache | None:
    """The target's cache, checked against the data; None if the target has none.

    Raises ConfigError if it can't be read or lacks some of the expert demonstrations.
    """
    if config.target.cache_path is None:
        return None
    cache = TeacherCache.open(config.target.cache_path)
    cache.check(collated(data.expert_pairs, data.tokenizer), data.tokenizer.vocab_size)
    return cache


def last_turns(tokens: TokenBatch) -> list[list[int]]:
    """The tokens of each row's last turn of the expert: those behind the last of anyone else."""
    turns, here = [], tokens.to(torch.device("cpu"))
    for ids, written, used in zip(
        here.input_ids, here.response_mask, here.attention_mask, strict=True
    ):
        others = (~written[used]).nonzero()
        turns.append(ids[used][int(others[-1]) + 1 :].tolist())
    return turns


class Imitation:
    """Makes the `ExpertRows` of a step, on the policy's device."""

    def __init__(self, config: TrainConfig, data: Data, models: Models) -> None:
        self.config = config
        self.data = data
        self.policy = models.policy
        assert (models.cache is None) == (config.target.cache_path is None), "open_cache makes it"
        self.cache = models.cache

    def stream(self, step: int) -> ExpertRows:
        """This step's batch of the expert stream."""
        return self.of(self.pairs(step))

    def pairs(self, step: int) -> list[Pair]:
        """This rank's expert demonstrations of a step."""
        pairs = self.data.pairs(step, self.config.seed, self.config.data.expert_batch)
        return list(part_of(pairs))

    def of(
        self, pairs: Sequence[Pair], share: Tensor | None = None, order: Tensor | None = None
    ) -> ExpertRows:
        """Rows of some demonstrations, each with its share (B,) of the loss and its place."""
        dtype, device = self.policy.dtype, self.policy.device
        tokens = collate_pairs(pairs, self.data.tokenizer).to(device)
        return ExpertRows(
            tokens=tokens,
            signal=self._signal(pairs, tokens),
            share=None if share is None else share.to(device, dtype),
            teacher=self.cache.rows(tokens, dtype) if self.cache else None,
            order=None if order is None else order.to(device),
        )

    def _signal(self, pairs: Sequence[Pair], tokens: TokenBatch) -> Tensor:
        """n (B,) from the verifier's scores of the expert responses; 0 if no weighting reads it.

        A response is graded once in a run, and read as a rollout is: its last turn, from its
        tokens. If the right answer is not known, it counts as right.
        """
        scores = torch.ones(len(pairs), dtype=torch.float64)
        if not self.config.weighting.needs_signal:
            return torch.zeros_like(scores).to(self.policy.device, self.policy.dtype)
        lengths = tokens.mask.sum(dim=1).tolist()
        turns = last_turns(tokens)
        known = [row for row, pair in enumerate(pairs) if pair.problem.answer]
        grades = self.data.expert_grades.of(
            self.config.reward,
            [pairs[row] for row in known],
            [self.data.tokenizer.decode(turns[row]) for row in known],
            [lengths[row] for row in known],
        )
        scores[known] = torch.tensor([grade.score for grade in grades], dtype=torch.float64)
        return step_signal(scores.to(self.policy.device)).to(self.policy.dtype)

    def own(self, rollouts: Rollouts) -> ExpertRows:
        """The policy's own samples, for targets that imitate a teacher on them."""
        rows = rollouts.rows.own()
        return ExpertRows(tokens=rows.tokens, signal=rows.signal, order=rows.order)
