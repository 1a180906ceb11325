"""Targets: divergences from a teacher, whole or truncated, and what each gives to a token."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chord.losses.distillation import (
    TeacherTokens,
    divergence,
    jensen_shannon,
    keep_likeliest,
    merge_rest,
)
from chord.losses.targets import Jsd, ReverseKl, Soft, Tokens
from chord.weightings import token_logprobs

P = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
Q = torch.tensor([0.75, 0.25], dtype=torch.float64).log()
quick = settings(deadline=None, derandomize=True, max_examples=60)


def random_logprobs(*shape: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


def losses_of(target, logits, index, teacher):
    """A target's losses where the log-probabilities are those of the logits at temperature 1."""
    return target.token_losses(logits, token_logprobs(logits, index), index, teacher)


def test_divergence_by_hand():
    # .75 ln 1.5 + .25 ln .5 = .30410 - .17329; .5 ln (2/3) + .5 ln 2 = -.20273 + .34657.
    assert divergence(Q, P).item() == pytest.approx(0.130812, abs=1e-6)
    assert divergence(P, Q).item() == pytest.approx(0.143841, abs=1e-6)
    assert divergence(P, P).item() == 0


def test_an_impossible_event_adds_nothing_and_hurts_nobody():
    sure = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    assert divergence(sure, P).item() == pytest.approx(math.log(2))
    assert divergence(sure, sure).item() == 0
    # M = (.5, .5) between (1, 0) and (0, 1): each is ln 2 away from it.
    assert jensen_shannon(sure, sure.flip(0), beta=0.5).item() == pytest.approx(math.log(2))


def test_jensen_shannon_by_hand():
    # beta .5: M = (.625, .375); .5 (.75 ln 1.2 + .25 ln 2/3) + .5 (.5 ln .8 + .5 ln 4/3)
    #        = .5 (.136741 - .101366) + .5 (-.111572 + .143841) = .017688 + .016135.
    assert jensen_shannon(Q, P, beta=0.5).item() == pytest.approx(0.033822, abs=1e-6)
    # beta .9: M = (.725, .275); .9 (.75 ln(.75/.725) + .25 ln(.25/.275))
    #        + .1 (.5 ln(.5/.725) + .5 ln(.5/.275))
    #        = .9 (.025426 - .023828) + .1 (-.185782 + .298919)
    assert jensen_shannon(Q, P, beta=0.9).item() == pytest.approx(0.012752, abs=1e-6)


def test_jensen_shannon_tends_to_the_two_divergences():
    # KL(Q || M) is of the order (1 - beta)^2, so the ratio is the limit up to O(beta).
    small = 1e-6
    assert jensen_shannon(Q, P, beta=small).item() / small == pytest.approx(
        divergence(Q, P).item(), rel=1e-4
    )
    assert jensen_shannon(Q, P, beta=1 - small).item() / small == pytest.approx(
        divergence(P, Q).item(), rel=1e-4
    )


def test_the_rest_of_a_truncated_distribution_is_one_event():
    logprobs = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    kept = keep_likeliest(logprobs, 1)
    assert kept.ids is not None
    assert kept.ids.tolist() == [0]
    torch.testing.assert_close(kept.logprobs.exp(), torch.tensor([0.5, 0.5], dtype=torch.float64))
    other = merge_rest(logprobs, torch.tensor([1]))
    torch.testing.assert_close(other.exp(), torch.tensor([0.3, 0.7], dtype=torch.float64))
    # K = V and beyond: no rest, and no column for it.
    whole = keep_likeliest(logprobs, 7)
    torch.testing.assert_close(whole.logprobs.exp().sum(), torch.ones((), dtype=torch.float64))
    assert whole.logprobs.shape == (3,)


@quick
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_truncation_keeps_the_mass_and_only_lowers_the_divergence(seed, k):
    teacher = random_logprobs(5, 7, seed=seed)
    student = random_logprobs(5, 7, seed=seed + 1)
    kept = keep_likeliest(teacher, k)
    assert kept.ids is not None
    merged = merge_rest(student, kept.ids)
    for logprobs in (kept.logprobs, merged):
        torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(5, dtype=torch.float64))
    full = divergence(teacher, student)
    assert (divergence(kept.logprobs, merged) <= full + 1e-12).all()
    if k >= 6:  # the rest holds one token, or none
        torch.testing.assert_close(divergence(kept.logprobs, merged), full, rtol=0, atol=1e-12)


def test_tokens_is_the_negative_log_likelihood():
    losses = losses_of(Tokens(), P[None], torch.tensor([0]), None)
    assert losses.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("k", [None, 3, 6, 7])
def test_the_gradient_of_soft_is_student_minus_teacher(k):
    # d KL(Q || P) / d logits = P - Q on the events compared: with K tokens and a rest r, a token of
    # the rest gets its share of (P_r - Q_r), p / P_r.
    teacher = random_logprobs(4, 7, seed=3)
    logits = random_logprobs(4, 7, seed=4).requires_grad_()
    view = TeacherTokens(teacher) if k is None else keep_likeliest(teacher, k)
    loss = losses_of(Soft(), logits, teacher.argmax(-1), view)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    student, expected = logits.detach().exp(), teacher.exp()
    if view.ids is not None:
        rest = torch.ones(4, 7, dtype=torch.bool).scatter(-1, view.ids, False)
        if rest.any():
            share = student * rest / (student * rest).sum(-1, keepdim=True)
            expected = expected * ~rest + (expected * rest).sum(-1, keepdim=True) * share
    torch.testing.assert_close(gradient, student - expected, rtol=0, atol=1e-12)


def test_reverse_kl_by_hand():
    sampled = losses_of(ReverseKl(), P[None], torch.tensor([0]), TeacherTokens(Q[None]))
    assert sampled.item() == pytest.approx(math.log(1.5) * math.log(2))
    exact = losses_of(
        ReverseKl(estimator="exact"), P[None], torch.tensor([0]), TeacherTokens(Q[None])
    )
    assert exact.item() == pytest.approx(0.143841, abs=1e-6)


def test_the_expected_gradient_of_the_sampled_reverse_kl_is_the_exact_one():
    # E_y[-A(y) grad log p(y)] with A = log Q - log P, over all y with their probabilities, is
    # sum_y p (log p - log q) grad log p = grad KL(P || Q), as sum_y p grad log p = 0.
    logits = random_logprobs(1, 5, seed=8).requires_grad_()
    teacher = TeacherTokens(random_logprobs(1, 5, seed=9))
    exact = losses_of(ReverseKl(estimator="exact"), logits, torch.zeros(1, dtype=int), teacher)
    (expected,) = torch.autograd.grad(exact.sum(), logits)
    every = torch.arange(5)
    many = TeacherTokens(teacher.logprobs.expand(5, 5))
    losses = losses_of(ReverseKl(), logits.expand(5, 5), every, many)
    mean = (logits.detach().exp()[0] * losses).sum()
    (gradient,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "target", [Soft(), Soft(temperature=2.0), ReverseKl(estimator="exact"), Jsd(), Jsd(beta=0.2)]
)
def test_gradcheck(target):
    logits = random_logprobs(3, 4, seed=1).requires_grad_()
    teacher = TeacherTokens(random_logprobs(3, 4, seed=2))
    index = torch.tensor([0, 1, 2])
    assert torch.autograd.gradcheck(lambda x: losses_of(target, x, index, teacher), (logits,))


@pytest.mark.parametrize("target", [Soft(), ReverseKl(), ReverseKl(estimator="exact"), Jsd()])
def test_no_gradient_reaches_the_teacher_and_logits_far_apart_stay_finite(target):
    logits = torch.tensor([[0.0, -400.0, 200.0]], dtype=torch.float32, requires_grad=True)
    expert = torch.tensor([[300.0, 0.0, -300.0]]).requires_grad_()
    teacher = TeacherTokens(expert.log_softmax(-1))
    loss = losses_of(target, logits, torch.tensor([2]), teacher).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert expert.grad is None


def test_jsd_draws_its_steps_on_own_samples_from_seed_and_step():
    target = Jsd(own=0.3)
    draws = [target.on_own_samples(5, step) for step in range(4000)]
    assert draws == [target.on_own_samples(5, step) for step in range(4000)]
    # Binomial(4000, .3): sd .0072.
    assert sum(draws) / 4000 == pytest.approx(0.3, abs=0.03)
    assert not any(Jsd(own=0.0).on_own_samples(0, step) for step in range(100))
    assert all(Jsd(own=1.0).on_own_samples(0, step) for step in range(100))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Soft, {"temperature": 0.0}, "target.temperature=0.0"),
        (Soft, {"temperature": 2.0, "cache": "x"}, "target.temperature=2.0"),
        (ReverseKl, {"estimator": "k3"}, "target.estimator=k3"),
        (Jsd, {"beta": 1.0}, "target.beta=1.0"),
        (Jsd, {"own": 1.5}, "target.own=1.5"),
    ],
)
def test_values_out_of_range_are_named(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)
