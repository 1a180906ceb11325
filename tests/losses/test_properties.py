"""Properties that hold for all inputs, searched for counter-examples: alpha, weights, losses."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rows.weightings import RULES, largest
from strategies import masks, quick, reals, shares, tensors

from chord.losses import aggregate, denominator, mix, sft_loss
from chord.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    Periodic,
    Schedule,
    Step,
    WarmupDecay,
)
from chord.weightings import (
    Entropy,
    Importance,
    Phi,
    Uniform,
    minmax_signal,
    token_logprobs,
    token_stats,
    weight_mean,
)

run_lengths = st.integers(1, 5000)
spans = st.one_of(st.floats(0, 1, exclude_max=True), st.integers(1, 5000))
steps = st.integers(0, 20_000)
ramps = st.sampled_from([Linear, Cosine, Exponential]).flatmap(
    lambda kind: st.builds(kind, initial=shares, final=shares, total_steps=run_lengths)
)
warmups = st.builds(
    WarmupDecay, peak=shares, valley=shares, warmup=spans, decay=spans, total_steps=run_lengths
)
schedules = st.one_of(
    st.builds(Constant, value=shares),
    ramps,
    warmups,
    st.builds(Periodic, period=st.integers(1, 99)),
    st.builds(Step, switch_step=spans, total_steps=run_lengths),
)


@quick
@given(schedules, steps)
def test_alpha_is_a_share_at_every_step(schedule: Schedule, step: int):
    alpha = schedule(step)
    assert isinstance(alpha, float)
    assert 0 <= alpha <= 1


@quick
@given(ramps, steps, steps)
def test_ramps_go_one_way_and_stay_between_their_ends(ramp, first, second):
    early, late = ramp(min(first, second)), ramp(max(first, second))
    low, high = sorted((ramp.initial, ramp.final))
    assert low - 1e-12 <= early <= high + 1e-12
    assert (late - early) * (ramp.final - ramp.initial) >= -1e-12
    assert ramp(0) == pytest.approx(ramp.initial, abs=1e-12)


@quick
@given(warmups)
def test_after_warm_up_and_decay_there_is_only_the_valley(schedule):
    assert schedule(10_001) == schedule.valley
    assert schedule(10**9) == schedule.valley


@quick
@given(
    st.sampled_from(RULES),
    tensors(2, 3, 4),
    tensors(2, 3, 4),
    tensors(2, 3, 4),
    tensors(2),
    masks(2, 3),
)
def test_weights_are_finite_and_bounded_and_move_no_gradient(
    weighting, logits, expert, reference, scores, mask
):
    logits.requires_grad_()
    targets = expert.argmax(dim=-1)
    stats = token_stats(logits, targets, top_k=weighting.top_k)
    stats.logprobs.retain_grad()
    weights = weighting(
        stats,
        mask,
        expert=token_stats(expert, targets),
        reference=token_logprobs(reference, targets),
        signal=minmax_signal(scores),
    )
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights <= largest(weighting, 4) + 1e-12).all()
    assert (weights[~mask] == 0).all()

    total = denominator(mask)
    sft_loss(stats.logprobs, weights, mask, total=total).backward()
    expected = -weights / max(total.item(), 1)
    torch.testing.assert_close(stats.logprobs.grad, expected, rtol=1e-15, atol=1e-15)


@quick
@given(st.sampled_from(RULES), tensors(2, 3, 4), tensors(2, 3, 4), masks(2, 3))
def test_a_step_raises_the_weighted_tokens_or_leaves_them(weighting, logits, expert, mask):
    # Each position has logits of its own, so its log p moves by +step w / N |grad log p|^2.
    logits.requires_grad_()
    targets = expert.argmax(dim=-1)
    stats = token_stats(logits, targets, top_k=weighting.top_k)
    weights = weighting(
        stats,
        mask,
        expert=token_stats(expert, targets),
        reference=torch.full((2, 3), -1.0, dtype=torch.float64),
        signal=torch.zeros(2, dtype=torch.float64),
    )
    sft_loss(stats.logprobs, weights, mask, total=denominator(mask)).backward()
    change = token_logprobs(logits.detach() - 1e-2 * logits.grad, targets) - stats.logprobs
    assert (change.detach() >= -1e-12).all()
    moves = (weights > 1e-3) & (stats.logprobs < -1e-3)
    assert (change.detach()[moves] > 0).all()


@quick
@given(tensors(2, 3, 4), masks(2, 3), st.sampled_from([Phi, Importance, Entropy, Uniform]))
def test_mean1_has_mean_one_or_is_all_zero(logits, mask, kind):
    stats = token_stats(logits, logits.argmin(dim=-1))
    weights = kind(normalize="mean1")(stats, mask)
    mean = weight_mean(weights, mask).item()
    assert mean == pytest.approx(1.0, abs=1e-9) or not (weights != 0).any()


@quick
@given(tensors(2, 3, 4), masks(2, 3))
def test_weights_of_one_are_plain_likelihood(logits, mask):
    stats = token_stats(logits, torch.zeros(2, 3, dtype=torch.int64))
    total = denominator(mask)
    loss = sft_loss(stats.logprobs, Uniform()(stats, mask), mask, total=total)
    plain = aggregate(-stats.logprobs, mask, total=total)
    assert loss.item() == plain.item()


@quick
@given(
    tensors(6, 4),
    masks(6, 4),
    st.sampled_from(["token", "sequence", "constant"]),
    st.lists(st.integers(1, 5), max_size=5, unique=True),
)
def test_the_pieces_of_a_loss_add_up_to_the_loss(values, mask, aggregation, cuts):
    bounds = [0, *sorted(cuts), 6]
    pieces = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    total = denominator(mask, aggregation=aggregation, max_length=4)
    counts = [denominator(mask[p], aggregation=aggregation, max_length=4) for p in pieces]
    assert sum(counts) == total
    whole = aggregate(values, mask, aggregation=aggregation, total=total)
    parts = [aggregate(values[p], mask[p], aggregation=aggregation, total=total) for p in pieces]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-12)


@quick
@given(tensors(3, 4), masks(3, 4), st.sampled_from(["token", "sequence", "constant"]))
def test_a_loss_of_ones_is_at_most_one(values, mask, aggregation):
    total = denominator(mask, aggregation=aggregation, max_length=4)
    loss = aggregate(torch.ones_like(values), mask, aggregation=aggregation, total=total)
    assert 0 <= loss.item() <= 1 + 1e-12
    if aggregation != "constant" and mask.any():
        assert loss.item() == pytest.approx(1.0, abs=1e-12)


@quick
@given(shares, reals, reals)
def test_the_mix_lies_between_its_branches(alpha, sft, rl):
    loss = mix(alpha, torch.tensor(sft).double(), torch.tensor(rl).double()).item()
    assert min(sft, rl) - 1e-5 <= loss <= max(sft, rl) + 1e-5
