"""Rows without padding: what is computed once, and that nothing else changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chord.data.batch import TokenBatch, collate
from chord.models.packing import pack_rows
from chord.models.scoring import score
from chord.models.transformer import Transformer, TransformerConfig

VOCAB = 11
EXACT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module")
def policy() -> Transformer:
    torch.manual_seed(0)
    sizes = TransformerConfig(vocab_size=VOCAB, width=16, layers=2, heads=2, context=64)
    return Transformer(sizes).double()


def rows(seed: int, *, prompts: int = 3, group: int = 3, longest: int = 20) -> TokenBatch:
    """Groups of responses of very different lengths to prompts, some of which are the same."""
    draw = random.Random(seed)
    known = [[draw.randrange(2, VOCAB) for _ in range(draw.randint(1, 6))] for _ in range(prompts)]
    pairs = [
        (prompt, [draw.randrange(2, VOCAB) for _ in range(draw.randint(1, longest))])
        for prompt in known
        for _ in range(group)
    ]
    draw.shuffle(pairs)
    return collate([p for p, _ in pairs], [r for _, r in pairs], pad_id=0)


def padded(policy: Transformer, batch: TokenBatch) -> Tensor:
    return policy.hidden(batch.input_ids[:, :-1], batch.attention_mask[:, :-1])[batch.mask]


def test_each_token_is_there_once() -> None:
    batch = collate([[5, 6], [5, 6], [7]], [[7, 8], [9, 8], [1]], pad_id=0)
    packed = pack_rows(batch)
    # Prompts first: 5 6, 7. Then responses without their last token.
    assert packed.tokens.tolist() == [5, 6, 7, 7, 9]
    assert packed.positions.tolist() == [0, 1, 0, 2, 2]
    assert [part.tolist() for part in packed.rows] == [[[0, 1, 3], [0, 1, 4]], [[2]]]
    assert packed.places.tolist() == [1, 3, 1, 4, 2]
    # Of a prompt's tokens in several rows, those of the last one are read.
    assert packed.back.tolist() == [3, 4, 6, 2, 5]


def test_no_padding_is_computed(policy: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    linear = F.linear

    def counted(x: Tensor, *weights: Any) -> Tensor:
        seen.append(x.numel() // x.shape[-1])
        return linear(x, *weights)

    batch = rows(1)
    prompts = {tuple(p) for p in _prompts(batch)}
    answers = int(batch.mask.sum()) - len(batch.mask)
    monkeypatch.setattr(F, "linear", counted)
    score(policy, batch)
    assert seen == [sum(map(len, prompts)) + answers] * 2 * len(policy.blocks)


def _prompts(batch: TokenBatch) -> list[list[int]]:
    lengths = (batch.attention_mask & ~batch.response_mask).sum(dim=1).tolist()
    return [ids[:n] for ids, n in zip(batch.input_ids.tolist(), lengths, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_features_and_gradients_are_those_of_padded_rows(policy: Transformer, seed: int) -> None:
    batch = rows(seed)
    assert len(pack_rows(batch).rows) > 1, "lengths differ"
    found, expected = score(policy, batch).features, padded(policy, batch)
    torch.testing.assert_close(found, expected, **EXACT)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed)).double()
    gradients = []
    for features in (found, expected):
        policy.zero_grad()
        (features * direction).sum().backward()
        gradients.append([p.grad for p in policy.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_tokens_that_do_not_count_are_still_read(policy: Transformer) -> None:
    """A row in which only some response tokens count, and one in which none does."""
    batch = collate(
        [[5, 6], [5, 6], [7, 8, 9]],
        [[3, 4, 2, 2], [3, 3, 2], [4]],
        pad_id=0,
        written=[[False, True, False, True], [True, True, True], [False]],
    )
    torch.testing.assert_close(score(policy, batch).features, padded(policy, batch), **EXACT)


def test_one_token_is_a_row_too(policy: Transformer) -> None:
    batch = TokenBatch(
        input_ids=torch.tensor([[4, 5], [6, 0]]),
        response_mask=torch.tensor([[False, True], [False, False]]),
        attention_mask=torch.tensor([[True, True], [True, False]]),
    )
    torch.testing.assert_close(score(policy, batch).features, padded(policy, batch), **EXACT)
