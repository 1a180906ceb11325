"""Sampling: the cache, independence of rows, end tokens, what is counted, and settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from steps import response_logits
from torch import Tensor, nn

from chord.data.batch import collate
from chord.models.transformer import Transformer, TransformerConfig
from chord.rollout import RolloutConfig, Samples, draw_uniforms, sample
from chord.rollout.sampling import fill_holes
from chord.weightings import token_logprobs

EXACT = {"rtol": 0.0, "atol": 1e-10}
EOS = 1
SAME_LENGTH = [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
MIXED = [[2, 3, 4], [5], [6, 7, 8, 9], [10, 2], [3, 3]]


def build() -> Transformer:
    """A small float64 policy that ends an answer with a probability of the order of 1/11."""
    torch.manual_seed(0)
    config = TransformerConfig(vocab_size=11, width=16, layers=2, heads=2, context=24)
    policy = Transformer(config).double()
    nn.init.normal_(policy.head.weight, std=0.3)
    return policy


def answer(prompts: list[list[int]], *, keys: list[int] | None = None, **changes: Any) -> Samples:
    """Four sampled answers to each prompt, at most eight tokens long."""
    options: dict[str, Any] = {
        "group_size": 4,
        "max_new_tokens": 8,
        "stop_ids": [EOS],
        "pad_id": 0,
        "policy": build(),
        "seed": 7,
    } | changes
    policy, seed = options.pop("policy"), options.pop("seed")
    if not options.get("greedy"):
        options["uniforms"] = draw_uniforms(
            seed,
            3,
            keys=keys or list(range(len(prompts))),
            group_size=options["group_size"],
            max_new_tokens=options["max_new_tokens"],
        )
    return sample(policy, prompts, **options)


def rescored(prompts: list[list[int]], samples: Samples, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of the answers from one forward pass without a cache."""
    group_size = len(samples.responses) // len(prompts)
    repeated = [prompt for prompt in prompts for _ in range(group_size)]
    batch = collate(repeated, samples.responses, pad_id=0)
    with torch.no_grad():
        logits = response_logits(build(), batch) / temperature
    return token_logprobs(logits, batch.targets[batch.mask])


@pytest.mark.parametrize("prompts", [SAME_LENGTH, MIXED])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_kept_from_sampling_are_those_of_the_full_forward(
    prompts: list[list[int]], temperature: float
) -> None:
    samples = answer(prompts, temperature=temperature)
    assert len({len(response) for response in samples.responses}) >= 3
    torch.testing.assert_close(samples.logprobs, rescored(prompts, samples, temperature), **EXACT)


def test_entropies_are_those_of_the_distributions_sampled_from() -> None:
    samples = answer(SAME_LENGTH, temperature=0.7)
    repeated = [prompt for prompt in SAME_LENGTH for _ in range(4)]
    with torch.no_grad():
        logits = response_logits(build(), collate(repeated, samples.responses, pad_id=0))
    expected = torch.distributions.Categorical(logits=logits / 0.7).entropy()
    torch.testing.assert_close(samples.entropies, expected, **EXACT)


def test_a_group_is_the_answers_to_its_prompt_in_prompt_major_order() -> None:
    draws = draw_uniforms(7, 3, keys=[0, 1, 2], group_size=4, max_new_tokens=8)
    whole = answer(SAME_LENGTH).responses
    for prompt in range(3):
        rows = draws[4 * prompt : 4 * prompt + 4]
        alone = sample(
            build(),
            SAME_LENGTH[prompt : prompt + 1],
            group_size=4,
            max_new_tokens=8,
            stop_ids=[EOS],
            pad_id=0,
            uniforms=rows,
        )
        assert whole[4 * prompt : 4 * prompt + 4] == alone.responses


@pytest.mark.parametrize("order", [[3], [4, 3, 2, 1, 0], [1, 3], [0, 2, 4, 1]])
@pytest.mark.parametrize("rows_at_a_time", [1, 3, 8, 256])
def test_a_row_does_not_depend_on_what_else_is_in_the_batch(
    order: list[int], rows_at_a_time: int
) -> None:
    keys = [10, 11, 12, 13, 14]
    whole = answer(MIXED, keys=keys)
    part = answer(
        [MIXED[i] for i in order],
        keys=[keys[i] for i in order],
        rows_at_a_time=rows_at_a_time,
    )
    expected = [whole.responses[4 * i + k] for i in order for k in range(4)]
    assert part.responses == expected
    starts = np.cumsum([0, *map(len, whole.responses)])
    flat = [whole.logprobs[starts[4 * i] : starts[4 * i + 4]] for i in order]
    torch.testing.assert_close(part.logprobs, torch.cat(flat), **EXACT)


def test_seed_and_step_change_the_samples_and_repeating_does_not() -> None:
    assert answer(MIXED).responses == answer(MIXED).responses
    assert answer(MIXED).responses != answer(MIXED, seed=8).responses


def test_an_answer_ends_with_its_first_end_token_or_is_cut_without_one() -> None:
    samples = answer(MIXED, group_size=16)
    for response, finished in zip(samples.responses, samples.finished, strict=True):
        assert 1 <= len(response) <= 8
        assert EOS not in response[:-1]
        assert finished == (response[-1] == EOS)
        assert finished or len(response) == 8
    assert 0 < sum(samples.finished) < len(samples.finished)


def test_an_end_token_at_the_last_position_is_an_end_and_not_a_cut() -> None:
    long = answer(MIXED, group_size=16)
    index = next(i for i, r in enumerate(long.responses) if r[-1] == EOS and len(r) == 5)
    cut = answer(MIXED, group_size=16, max_new_tokens=5)
    assert cut.responses[index] == long.responses[index]
    assert cut.finished[index]


def test_padding_may_be_the_end_token() -> None:
    apart, same = answer(MIXED), answer(MIXED, pad_id=EOS)
    assert same.responses == apart.responses
    assert same.finished == apart.finished
    torch.testing.assert_close(same.logprobs, apart.logprobs, **EXACT)


def test_prompt_tokens_are_never_scored() -> None:
    samples = answer(MIXED)
    count = sum(map(len, samples.responses))
    assert samples.logprobs.shape == samples.entropies.shape == (count,)
    repeated = [prompt for prompt in MIXED for _ in range(4)]
    assert int(collate(repeated, samples.responses, pad_id=0).mask.sum()) == count


def test_prompts_are_computed_once_per_group_and_finished_rows_leave() -> None:
    shapes: list[tuple[int, ...]] = []

    class Spy(Transformer):
        def hidden(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            shapes.append(tuple(input_ids.shape))
            return super().hidden(input_ids, *args, **kwargs)

    policy = build()
    policy.__class__ = Spy
    samples = answer(SAME_LENGTH, policy=policy)
    lengths = [len(response) for response in samples.responses]
    # After t tokens exactly the answers longer than t are still computed.
    alive = [sum(length > t for length in lengths) for t in range(1, 8)]
    assert shapes == [(3, 3)] + [(rows, 1) for rows in alive if rows]
    assert alive[0] > alive[-1]


def test_greedy_takes_the_most_probable_token() -> None:
    samples = answer(MIXED, group_size=1, greedy=True)
    policy = build()
    for prompt, response in zip(MIXED, samples.responses, strict=True):
        ids = list(prompt)
        for token in response:
            assert token == int(policy(torch.tensor([ids]))[0, -1].argmax())
            ids.append(token)
    torch.testing.assert_close(samples.logprobs, rescored(MIXED, samples), **EXACT)


def test_sampling_needs_draws_or_greedy_and_not_both() -> None:
    draws = draw_uniforms(0, 0, keys=[0], group_size=1, max_new_tokens=8)
    options: dict[str, Any] = {"group_size": 1, "max_new_tokens": 8, "stop_ids": [1], "pad_id": 0}
    with pytest.raises(ValueError, match="either uniforms or greedy"):
        sample(build(), [[2]], **options)
    with pytest.raises(ValueError, match="either uniforms or greedy"):
        sample(build(), [[2]], uniforms=draws, greedy=True, **options)
    with pytest.raises(ValueError, match=r"need \(2, 8\)"):
        sample(build(), [[2], [3]], uniforms=draws, **options)


def test_no_prompts_give_no_answers_and_prompts_must_fit() -> None:
    assert answer([]).responses == []
    assert answer([]).logprobs.shape == (0,)
    with pytest.raises(ValueError, match="a prompt is empty"):
        answer([[2], []])
    with pytest.raises(ValueError, match=r"rollout\.max_new_tokens=8: .*model\.context=24"):
        answer([[2] * 17])


def test_dropout_is_off_and_modes_come_back() -> None:
    policy = build()
    policy.head = nn.Sequential(policy.head, nn.Dropout(0.5))
    policy.train()
    policy.norm.eval()
    samples = answer(MIXED, policy=policy)
    assert samples.responses == answer(MIXED).responses
    torch.testing.assert_close(samples.logprobs, answer(MIXED).logprobs, **EXACT)
    assert policy.training
    assert policy.head[1].training
    assert not policy.norm.training


def test_kept_log_probabilities_are_constants_that_a_loss_can_use() -> None:
    logprobs = answer(SAME_LENGTH).logprobs
    assert not logprobs.requires_grad
    x = torch.zeros_like(logprobs, requires_grad=True)
    (x * logprobs).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, logprobs)


def test_truncation_limits_the_tokens_and_keeps_the_full_log_probabilities() -> None:
    samples = answer(SAME_LENGTH, top_k=2)
    repeated = [prompt for prompt in SAME_LENGTH for _ in range(4)]
    batch = collate(repeated, samples.responses, pad_id=0)
    with torch.no_grad():
        logits = response_logits(build(), batch)
    chosen = batch.targets[batch.mask]
    assert bool((logits.topk(2).indices == chosen[:, None]).any(1).all())
    torch.testing.assert_close(samples.logprobs, token_logprobs(logits, chosen), **EXACT)
    greedy = answer(SAME_LENGTH, group_size=1, greedy=True)
    assert answer(SAME_LENGTH, group_size=1, top_p=1e-9).responses == greedy.responses


@given(st.lists(st.booleans(), max_size=12))
def test_holes_are_filled_from_the_end_and_other_rows_stay(alive: list[bool]) -> None:
    kept = fill_holes(torch.tensor(alive, dtype=torch.bool)).tolist()
    living = [row for row, lives in enumerate(alive) if lives]
    assert sorted(kept) == living
    assert all(kept[row] == row for row in living if row < len(living))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("problems", 0),
        ("group_size", 1),
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("max_new_tokens", 0),
        ("rows_at_a_time", 0),
        ("updates", 0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"rollout\.{setting}={value}: must"):
        RolloutConfig(**{setting: value})


@pytest.mark.parametrize(("setting", "value"), [("top_p", 0.9), ("top_k", 5)])
def test_truncated_sampling_warns_of_its_bias(setting: str, value: float) -> None:
    with pytest.warns(UserWarning, match=rf"rollout\.{setting}={value}: .*biases its gradient"):
        RolloutConfig(**{setting: value})
