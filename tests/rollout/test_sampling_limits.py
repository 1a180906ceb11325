"""Answers of different lengths at most: what a prefix leaves room for differs by prompt."""

from __future__ import annotations

import pytest
import torch

from chord.models.transformer import Transformer, TransformerConfig
from chord.rollout import Samples, draw_uniforms, sample

CONTEXT = 24
# With the limits below each fits into the context, but not the longest prompt with the longest
# limit: 19 + 12 slots are needed where the short prompts are padded.
PROMPTS = [[2, 3, 4], [5] * 19, [6, 7, 8, 9]]
LIMITS = [12, 5, 1]


def answers(limits: list[int] | None, prompts: list[list[int]], keys: list[int]) -> Samples:
    torch.manual_seed(0)
    config = TransformerConfig(vocab_size=11, width=16, layers=2, heads=2, context=CONTEXT)
    return sample(
        Transformer(config).double(),
        prompts,
        group_size=4,
        max_new_tokens=12,
        stop_ids=[1],
        pad_id=0,
        uniforms=draw_uniforms(7, 0, keys=keys, group_size=4, max_new_tokens=12),
        limits=limits,
    )


def test_each_prompt_is_answered_up_to_its_own_limit_as_it_would_be_alone():
    together = answers(LIMITS, PROMPTS, [0, 1, 2])
    alone = [
        answers([n], [p], [key]) for key, (p, n) in enumerate(zip(PROMPTS, LIMITS, strict=True))
    ]
    assert together.responses == [row for samples in alone for row in samples.responses]
    assert together.finished == [done for samples in alone for done in samples.finished]
    torch.testing.assert_close(
        together.logprobs, torch.cat([s.logprobs for s in alone]), rtol=0, atol=1e-12
    )
    for row, response in enumerate(together.responses):
        limit = LIMITS[row // 4]
        assert len(response) <= limit
        assert together.finished[row] == (response[-1] == 1)
        assert together.finished[row] or len(response) == limit
    # A limit cuts and changes nothing before the cut.
    free = answers(None, PROMPTS[2:], [2])
    assert together.responses[8:] == [response[:1] for response in free.responses]


def test_a_limit_that_does_not_fit_is_refused_with_its_prompt():
    with pytest.raises(ValueError, match=r"rollout\.max_new_tokens=6: with a prompt of 19 tokens"):
        answers([12, 6, 1], PROMPTS, [0, 1, 2])
