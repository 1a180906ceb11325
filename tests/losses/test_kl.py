"""KL terms: estimators and exact values, and whose gradient they have."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from vectors import f64

from chord.losses import (
    Kl,
    Reinforce,
    kl_estimate,
    kl_exact,
)


def test_kl_estimates_by_hand():
    # pi = .5, ref = .25, l = ln 2: k1 = l, k2 = l^2 / 2, k3 = e^-l - 1 + l = -.5 + l.
    logprobs, ref = f64([0.5]).log(), f64([0.25]).log()
    log2 = math.log(2)
    for estimator, expected in (("k1", log2), ("k2", log2**2 / 2), ("k3", log2 - 0.5)):
        value = kl_estimate(logprobs, ref, estimator=estimator)
        assert value.item() == pytest.approx(expected, abs=1e-15)


def test_exact_kl_in_both_directions_by_hand():
    # pi = (1/2, 1/2), ref = (3/4, 1/4).
    # KL(pi || ref) = .5 ln(2/3) + .5 ln 2 = .5 ln(4/3). KL(ref || pi) = .75 ln 1.5 + .25 ln .5.
    policy, other = f64([[1, 1]]).log() + 7.0, f64([[3, 1]]).log()
    from_policy = kl_exact(policy, other, direction="from_policy").item()
    to_policy = kl_exact(policy, other, direction="to_policy").item()
    assert from_policy == pytest.approx(0.5 * math.log(4 / 3), abs=1e-15)
    assert to_policy == pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2), abs=1e-15)
    assert from_policy > to_policy + 0.01


def test_exact_kl_of_distributions_that_exclude_tokens():
    # pi = (1, 0) and ref = (1/2, 1/2): KL(pi || ref) = ln 2, KL(ref || pi) infinite.
    policy, other = f64([[0, -math.inf]]), f64([[0, 0]])
    assert kl_exact(policy, other).item() == pytest.approx(math.log(2), abs=1e-15)
    assert kl_exact(policy, other, direction="to_policy").item() == math.inf
    assert kl_exact(policy, policy).item() == 0.0


def expected_gradient(logits: torch.Tensor, ref: torch.Tensor, estimator: str) -> torch.Tensor:
    """Mean over all tokens, each as often as the policy draws it, of the estimator's gradient."""
    logprobs = logits.log_softmax(dim=-1)
    values = kl_estimate(logprobs, ref.log_softmax(dim=-1), estimator=estimator)
    return torch.autograd.grad((logprobs.detach().exp() * values).sum(), logits)[0]


def test_only_k2_has_the_gradient_of_the_kl_from_the_policy():
    logits = f64([0.3, -1.2, 0.8, 2.0]).requires_grad_()
    ref = f64([1.0, 0.1, -0.7, 0.4])
    from_policy, to_policy = (
        torch.autograd.grad(kl_exact(logits, ref, direction=direction), logits)[0]
        for direction in ("from_policy", "to_policy")
    )
    assert (from_policy - to_policy).abs().max() > 0.1
    for estimator, expected in (
        ("k1", torch.zeros(4, dtype=torch.float64)),
        ("k2", from_policy),
        ("k3", to_policy),
    ):
        gradient = expected_gradient(logits, ref, estimator)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


def test_for_whole_sequences_k1_in_the_reward_has_the_gradient_of_the_kl():
    # Two tokens out of three, the second conditioned on the first: all nine sequences are summed.
    generator = torch.Generator().manual_seed(0)
    first, second, ref_first, ref_second = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((3,), (3, 3), (3,), (3, 3))
    )
    first.requires_grad_()
    second.requires_grad_()

    def sequences(start, following):
        start, following = start.log_softmax(dim=-1), following.log_softmax(dim=-1)
        pairs = itertools.product(range(3), range(3))
        return torch.stack([torch.stack([start[a], following[a, b]]) for a, b in pairs])

    policy, ref = sequences(first, second), sequences(ref_first, ref_second)
    probability = policy.sum(dim=-1).exp()
    kl = (probability * (policy.sum(dim=-1) - ref.sum(dim=-1))).sum()
    expected = torch.autograd.grad(kl, (first, second), retain_graph=True)

    def reinforce(penalty):  # the policy gradient of the mean penalty, -A log p with A = -penalty
        values, _ = Reinforce().token_losses(
            policy, policy, -penalty.sum(dim=-1), torch.ones(9, 2, dtype=torch.bool)
        )
        loss = (probability.detach().unsqueeze(-1) * values).sum()
        return torch.autograd.grad(loss, (first, second), retain_graph=True)

    k1 = Kl(coef=1.0, estimator="k1", where="reward")
    for gradient, wanted in zip(reinforce(k1(policy, ref)), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-15)

    per_token = kl_estimate(policy, ref, estimator="k2")
    loss = (probability.detach().unsqueeze(-1) * per_token).sum()
    (gradient, _) = torch.autograd.grad(loss, (first, second))
    assert (gradient - expected[0]).abs().max() > 1e-2


def test_a_kl_term_is_attached_as_a_loss_and_detached_as_a_reward():
    policy, other = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    as_loss = Kl(coef=0.1, estimator="k2")(policy, other)
    as_loss.sum().backward()
    assert policy.grad is not None
    assert other.grad is None
    assert not Kl(coef=0.1, estimator="k2", where="reward")(policy, other).requires_grad


def test_an_exact_kl_term_takes_logits_and_honours_the_direction():
    policy, other = f64([[[1, 1]]]).log(), f64([[[3, 1]]]).log()
    for direction in ("from_policy", "to_policy"):
        kl = Kl(coef=0.1, to="teacher", estimator="exact", direction=direction)
        assert kl.needs_logits
        assert torch.equal(kl(policy, other), kl_exact(policy, other, direction=direction))
    assert not Kl().needs_logits


def test_kl_estimates_stay_finite_for_tokens_one_model_excludes():
    logprobs, ref = torch.tensor([-1.0, -200.0]), torch.tensor([-200.0, -1.0])
    for estimator in ("k1", "k2", "k3"):
        assert torch.isfinite(kl_estimate(logprobs, ref, estimator=estimator)).all()
