"""Padding and masks of token batches."""

from __future__ import annotations

import pytest
import torch

from chord.data.batch import Pair, Problem, collate, collate_pairs
from chord.data.tokenizer import CharTokenizer

PROMPTS = [[5, 6], [7], [8]]
RESPONSES = [[8, 1], [9], []]


def test_sequences_are_padded_on_the_right_and_only_responses_are_masked_in() -> None:
    batch = collate(PROMPTS, RESPONSES, pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 8, 1], [7, 9, 0, 0], [8, 0, 0, 0]]
    assert batch.response_mask.int().tolist() == [[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.attention_mask.int().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]


def test_targets_are_the_next_tokens_and_the_mask_is_aligned_to_them() -> None:
    batch = collate(PROMPTS, RESPONSES, pad_id=0)
    assert batch.targets.tolist() == [[6, 8, 1], [9, 0, 0], [0, 0, 0]]
    # The first end token is a target; the prompt's second token is not.
    assert batch.mask.int().tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("pad_id", [0, 1, 9])
def test_masks_do_not_depend_on_which_token_pads(pad_id: int) -> None:
    batch, other = collate(PROMPTS, RESPONSES, pad_id=0), collate(PROMPTS, RESPONSES, pad_id=pad_id)
    assert torch.equal(batch.response_mask, other.response_mask)
    assert torch.equal(batch.attention_mask, other.attention_mask)
    assert torch.equal(batch.targets[batch.mask], other.targets[other.mask])


def test_a_selection_is_trimmed_to_its_longest_row() -> None:
    batch = collate(PROMPTS, RESPONSES, pad_id=0).select(torch.tensor([2, 1]))
    assert batch.input_ids.tolist() == [[8, 0], [7, 9]]
    assert batch.mask.int().tolist() == [[0], [1]]
    assert collate(PROMPTS, RESPONSES, pad_id=0).select(slice(0, 1)).input_ids.shape == (1, 4)


def test_empty_batches_and_selections_keep_two_dimensions() -> None:
    empty = collate([], [], pad_id=0)
    none = collate(PROMPTS, RESPONSES, pad_id=0).select(slice(0, 0))
    for batch in (empty, none):
        assert batch.input_ids.shape == (0, 1)
        assert batch.mask.shape == batch.targets.shape == (0, 0)
        assert batch.input_ids.dtype == torch.int64


def test_prompts_and_responses_must_match_and_prompts_must_hold_a_token() -> None:
    with pytest.raises(ValueError, match="2 prompts do not match 1 responses"):
        collate([[1], [2]], [[3]], pad_id=0)
    with pytest.raises(ValueError, match="a prompt is empty"):
        collate([[]], [[3]], pad_id=0)


def test_an_expert_response_ends_with_the_end_token_and_that_is_a_target() -> None:
    # 2 stands for a, 3 for b: prompt a, response b, end 1; the second response is longer.
    tokenizer = CharTokenizer("ab")
    pairs = [Pair(Problem("a", "b", 0), "b"), Pair(Problem("b", "a", 1), "ab")]
    tokens = collate_pairs(pairs, tokenizer)
    assert tokens.input_ids.tolist() == [[2, 3, 1, 0], [3, 2, 3, 1]]
    assert tokens.targets[tokens.mask].tolist() == [3, 1, 2, 3, 1]


def test_only_what_is_kept_of_a_response_still_counts() -> None:
    tokens = collate([[5], [5, 6]], [[7, 8, 1], [9, 1]], pad_id=0)
    keep = torch.tensor([[False, True, True], [True, False, True]])
    # Targets are 7 8 1 and 6 9 1, where 6 is of the prompt and stays out.
    assert tokens.targets[tokens.within(keep).mask].tolist() == [8, 1, 1]
    assert tokens.targets[tokens.mask].tolist() == [7, 8, 1, 9, 1]
