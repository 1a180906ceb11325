"""Averaging over pieces, the imitation loss and the mix, by hand and against recorded values."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import MODES, cases, f64, lengths

from chord.losses import (
    Grpo,
    aggregate,
    denominator,
    mix,
    sft_loss,
)
from chord.schedules import WarmupDecay
from chord.weightings import (
    Importance,
    Phi,
    Uniform,
    token_stats,
)


def test_denominators_of_rows_of_ten_two_and_none():
    mask = lengths(10, 2, 0, width=12)
    assert denominator(mask, aggregation="token").item() == 12
    assert denominator(mask, aggregation="sequence").item() == 2
    assert denominator(mask, aggregation="constant", max_length=12).item() == 36


def test_aggregations_of_two_rows_by_hand():
    # Row 1: ten values of 1, row 2: two values of 4.
    # token (10 + 8) / 12 = 1.5; sequence (1 + 4) / 2 = 2.5; constant (10 + 8) / (2 * 12) = .75.
    mask = lengths(10, 2, width=12)
    values = f64([[1.0] * 12, [4.0] * 12])
    for aggregation, expected in (("token", 1.5), ("sequence", 2.5), ("constant", 0.75)):
        total = denominator(mask, aggregation=aggregation, max_length=12)
        result = aggregate(values, mask, aggregation=aggregation, total=total)
        assert result.item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("aggregation", "long", "short"),
    [
        # 16 tokens in all: 1/16 each.
        ("token", [0.0625, 0.0625], [0.0625, 0.0625]),
        # 4 sequences: (1/4) / 10, (1/4) / 2, (1/4) / 3, (1/4) / 1.
        ("sequence", [0.025, 0.125], [1 / 12, 0.25]),
        # 4 rows of at most 10 tokens: 1/40 each.
        ("constant", [0.025, 0.025], [0.025, 0.025]),
    ],
)
def test_the_weight_of_a_token_in_two_pieces_of_unequal_length(aggregation, long, short):
    masks = lengths(10, 2, width=10), lengths(3, 1, width=3)
    pieces = [torch.zeros(mask.shape, dtype=torch.float64, requires_grad=True) for mask in masks]
    total = sum(denominator(mask, aggregation=aggregation, max_length=10) for mask in masks)
    for values, mask, expected in zip(pieces, masks, (long, short), strict=True):
        aggregate(values, mask, aggregation=aggregation, total=total).backward()
        wanted = f64(expected).unsqueeze(-1) * mask
        torch.testing.assert_close(values.grad, wanted, rtol=0, atol=1e-16)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_an_empty_step_is_zero_with_zero_gradients(aggregation):
    values = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(2, 3, dtype=torch.bool)
    for total in (0, 0.0, torch.tensor(0), denominator(mask, aggregation="token")):
        values.grad = None
        loss = aggregate(values, mask, aggregation=aggregation, total=total)
        loss.backward()
        assert loss.item() == 0.0
        assert values.grad is not None
        assert (values.grad == 0).all()


def test_no_rows_at_all_are_zero_too():
    values = torch.zeros(0, 3, requires_grad=True)
    mask = torch.zeros(0, 3, dtype=torch.bool)
    loss = aggregate(values, mask, aggregation="sequence", total=denominator(mask))
    loss.backward()
    assert loss.item() == 0.0


def test_what_stands_outside_the_mask_is_never_read():
    values = f64([[1.0, math.nan], [3.0, math.inf]]).requires_grad_()
    loss = aggregate(values, lengths(1, 1, width=2), total=2)
    loss.backward()
    assert loss.item() == 2.0
    assert values.grad.tolist() == [[0.5, 0.0], [0.5, 0.0]]


def test_an_unknown_aggregation_is_refused():
    message = r"^objective\.aggregation=mean: must be one of token, sequence, constant$"
    mask = lengths(1, width=1)
    with pytest.raises(ValueError, match=message):
        denominator(mask, aggregation="mean")
    with pytest.raises(ValueError, match=message):
        aggregate(f64([[1]]), mask, aggregation="mean", total=1)
    with pytest.raises(ValueError, match=message):
        Grpo(aggregation="mean")


def test_sft_loss_divides_by_tokens_and_not_by_weights():
    # -(.25 ln .5 + 0 ln .9) / 2 = .25 ln 2 / 2.
    logprobs = f64([[0.5, 0.9]]).log()
    loss = sft_loss(logprobs, f64([[0.25, 0]]), lengths(2, width=2), total=2)
    assert loss.item() == pytest.approx(0.25 * math.log(2) / 2, abs=1e-15)


def test_sft_loss_detaches_its_weights():
    logprobs = f64([[0.1]]).log().requires_grad_()
    loss = sft_loss(logprobs, logprobs.exp(), lengths(1, width=1), total=1)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    # -w / N = -.1; with an attached w it would be -.1 (1 + ln .1) = .13026.
    assert gradient.item() == pytest.approx(-0.1, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "weighting"),
    [
        ("trinity_sft_loss", Uniform()),
        ("trinity_sft_phi_loss", Phi()),
        ("trinity_sft_is_loss", Importance()),
    ],
)
def test_imitation_reproduces_the_published_losses_and_gradients(name, weighting):
    for case in cases(name):
        logprobs, mask = f64(case["logprob"]).requires_grad_(), torch.tensor(case["mask"])
        stats = token_stats(torch.zeros(*mask.shape, 2), torch.zeros(mask.shape).long())
        stats.logprobs = logprobs
        weights = weighting(stats, mask)
        aggregation, divisor = MODES[case["kwargs"]["loss_agg_mode"]]
        if case["kwargs"]["loss_agg_mode"] == "token-mean":
            loss = sft_loss(logprobs, weights, mask, total=divisor(mask))
        else:
            values = -weights * logprobs
            loss = aggregate(values, mask, aggregation=aggregation, total=divisor(mask))
        loss.backward()
        assert loss.item() == pytest.approx(case["loss"], rel=1e-7)
        if case["grad_logprob"] is not None:
            expected = f64(case["grad_logprob"])
            torch.testing.assert_close(logprobs.grad, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("case", cases("swift_chord_loss"))
def test_the_published_mix_of_imitation_and_rl(case):
    # That source counts the tokens of its own micro-batch, which is all there is here. It rolls the
    # labels, so that one on the first token comes back at the end: in the sum but not in the count.
    logits, labels = torch.tensor(case["logits"]).requires_grad_(), torch.tensor(case["labels"])
    rolled = labels.roll(-1, dims=-1)
    mask = rolled != -100
    stats = token_stats(logits, rolled.clamp(min=0))
    weighting = Phi() if case["args"]["chord_enable_phi_function"] else Uniform()
    weights = weighting(stats, mask)
    if case["loss_scale"] is not None:
        weights = weights * torch.tensor(case["loss_scale"]).roll(-1, dims=-1)
    names = ("peak", "valley", "warmup_steps", "decay_steps")
    peak, valley, warmup, decay = (case["args"][f"chord_mu_{name}"] for name in names)
    schedule = WarmupDecay(peak=peak, valley=valley, warmup=warmup, decay=decay, total_steps=1000)
    alpha = schedule(case["global_step"])
    sft = sft_loss(stats.logprobs, weights, mask, total=denominator(labels[:, 1:] != -100))
    loss = mix(alpha, sft, torch.tensor(case["grpo_loss"]))
    loss.backward()
    assert alpha == pytest.approx(case["mu"], rel=1e-12)
    assert sft.item() == pytest.approx(case["sft_loss"], rel=1e-5)
    assert loss.item() == pytest.approx(case["total_loss"], rel=1e-5)
    if case["grad_logits"] is not None:
        expected = torch.tensor(case["grad_logits"])
        torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-7)


def test_alpha_is_the_share_of_imitation():
    # .25 * 2 + .75 * 4 = 3.5.
    assert mix(0.25, f64(2), f64(4)).item() == 3.5
    assert mix(1.0, f64(2), f64(4)).item() == 2.0
    assert mix(0.0, f64(2), f64(4)).item() == 4.0


def test_a_branch_may_be_skipped_only_at_a_share_of_zero():
    assert mix(1.0, f64(2), None).item() == 2.0
    assert mix(0.0, None, f64(4)).item() == 4.0
    for alpha, sft, rl in ((0.5, None, f64(4)), (0.5, f64(2), None), (1.0, None, f64(4))):
        with pytest.raises(AssertionError, match="was skipped at alpha="):
            mix(alpha, sft, rl)
    with pytest.raises(AssertionError, match="is no share"):
        mix(1.5, f64(2), f64(4))
