"""Weights carry no gradient: the loss pushes log p by exactly -w / N, and never down."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import WEIGHTINGS, f64, stats_of

from chord.losses import sft_loss
from chord.weightings import (
    Phi,
    TokenStats,
    Weighting,
    minmax_signal,
    token_logprobs,
    token_stats,
)


def everything(*, rows: int = 3, length: int = 5, vocabulary: int = 7, seed: int = 0) -> dict:
    """Random inputs for every weighting; the model's logits carry gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, length, vocabulary)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    expert = 4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    targets = expert.argmax(dim=-1)
    return {
        "logits": logits.requires_grad_(),
        "targets": targets,
        "expert": token_stats(expert, targets),
        "signal": minmax_signal(torch.randn(rows, generator=generator, dtype=torch.float64)),
        "mask": torch.rand(shape[:2], generator=generator) < 0.7,
    }


@pytest.mark.parametrize("weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_the_gradient_of_the_loss_with_respect_to_log_p_is_minus_w_over_n(weighting):
    given = everything()
    stats = token_stats(given["logits"], given["targets"])
    stats.logprobs.retain_grad()
    mask = given["mask"]
    weights = weighting(stats, mask, expert=given["expert"], signal=given["signal"])
    sft_loss(stats.logprobs, weights, mask, total=mask.sum()).backward()
    torch.testing.assert_close(stats.logprobs.grad, -weights / mask.sum(), rtol=0, atol=1e-16)
    assert (stats.logprobs.grad[~mask] == 0).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
def test_a_small_step_raises_every_token_that_has_a_weight(weighting):
    # All p far below .2356, where an attached phi would push rare tokens down.
    given = everything(vocabulary=30)
    stats = token_stats(given["logits"], given["targets"])
    assert stats.logprobs.exp().median() < 0.1
    mask = given["mask"]
    weights = weighting(stats, mask, expert=given["expert"], signal=given["signal"])
    sft_loss(stats.logprobs, weights, mask, total=mask.sum()).backward()
    moved = given["logits"].detach() - 1e-3 * given["logits"].grad
    change = token_logprobs(moved, given["targets"]) - stats.logprobs.detach()
    assert (weights > 0).any()
    assert (change[weights > 0] > 0).all()
    assert (change[weights == 0] == 0).all()


def test_an_attached_phi_would_unlearn_rare_tokens():
    # d/d(log p) of -p (1 - p) log p is -(p (1 - p) + p (1 - 2 p) ln p): an effective weight that is
    # negative for p below its root, 1 - p + (1 - 2 p) ln p = 0 at p = .23561. Ours stays phi > 0.
    def effective(p):
        return p * (1 - p) + p * (1 - 2 * p) * math.log(p)

    assert effective(0.2356) < 0 < effective(0.2357)
    for p in (0.01, 0.2, 0.5):
        logprob = f64([[p]]).log().requires_grad_()
        attached = logprob.exp() * (1 - logprob.exp())
        (gradient,) = torch.autograd.grad(-(attached * logprob).sum(), logprob)
        assert gradient.item() == pytest.approx(-effective(p), abs=1e-15)

        stats = stats_of(p)
        stats.logprobs = logprob
        mask = torch.ones(1, 1, dtype=torch.bool)
        (gradient,) = torch.autograd.grad(
            sft_loss(logprob, Phi()(stats, mask), mask, total=1), logprob
        )
        assert gradient.item() == pytest.approx(-p * (1 - p), abs=1e-15)


def test_attached_statistics_still_give_detached_weights():
    policy = stats_of(0.3)
    policy = TokenStats(
        logprobs=policy.logprobs.requires_grad_(),
        entropy=policy.entropy.requires_grad_(),
        max_prob=policy.max_prob.requires_grad_(),
        vocab_size=2,
    )
    signal = f64([0.5]).requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    for weighting in WEIGHTINGS.values():
        assert not weighting(policy, mask, expert=policy, signal=signal).requires_grad


def test_a_rule_that_forgets_to_detach_is_detached_all_the_same():
    class Careless(Weighting):
        def raw(self, at):
            return at.policy.logprobs

    stats = stats_of(0.3)
    stats.logprobs.requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert not Careless()(stats, mask).requires_grad
    assert not Careless(normalize="mean1")(stats, mask).requires_grad
