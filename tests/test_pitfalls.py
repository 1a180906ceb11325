"""What is easy to get wrong when imitation and RL are mixed, one test for each."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import cases, f64, lengths, weight

from chord.advantages import Advantage
from chord.data.batch import collate
from chord.losses import (
    Grpo,
    Kl,
    Reinforce,
    aggregate,
    denominator,
    kl_estimate,
    kl_exact,
    mix,
    sft_loss,
    unified_objective,
)
from chord.weightings import Phi, Uniform, token_logprobs, token_stats


def test_every_token_counts_the_same_however_the_step_is_cut():
    # Two pieces of 10 and 2, 3 and 1 tokens. Right: 1/16 each. The mean of the pieces' means, which
    # the public implementations take, would give 1/24 = .042 and 1/8 = .125.
    masks = lengths(10, 2, width=10), lengths(3, 1, width=3)
    total = sum(denominator(mask) for mask in masks)
    for mask in masks:
        logprobs = torch.full(mask.shape, -1.0, dtype=torch.float64, requires_grad=True)
        weights = torch.ones_like(logprobs)
        sft = sft_loss(logprobs, weights, mask, total=total)
        (gradient,) = torch.autograd.grad(sft, logprobs)
        assert torch.equal(gradient, -0.0625 * mask)

        values, _ = Grpo().token_losses(logprobs, logprobs, torch.ones(2), mask)
        rl = aggregate(values, mask, total=total)
        (gradient,) = torch.autograd.grad(rl, logprobs)
        assert torch.equal(gradient, -0.0625 * mask)


def own_mix(case: dict, alpha: float, weighting) -> tuple[torch.Tensor, torch.Tensor]:
    """Our loss of a recorded batch in which rows of both kinds lie, and its gradient."""
    logprobs = f64(case["logprob"]).requires_grad_()
    mask, expert = torch.tensor(case["mask"]), torch.tensor(case["expert_mask"]).unsqueeze(-1)
    imitated, sampled = mask & expert, mask & ~expert
    stats = token_stats(torch.zeros(*mask.shape, 2), torch.zeros(mask.shape).long())
    stats.logprobs = logprobs
    weights = weighting(stats, imitated)
    sft = sft_loss(logprobs, weights, imitated, total=denominator(imitated))
    values, _ = Grpo().token_losses(
        logprobs, f64(case["old_logprob"]), f64(case["advantages"]), sampled
    )
    rl = aggregate(values, sampled, total=denominator(sampled))
    loss = mix(alpha, sft, rl)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    return loss.detach(), gradient


def test_public_accumulation_depends_on_the_cut_and_ours_does_not():
    recorded: dict[int, list[dict]] = {}
    for case in cases("trinity_microbatch_accumulation"):
        recorded.setdefault(case["seed"], []).append(case)
    for same_batch in recorded.values():
        ours = []
        for case in same_batch:
            weighting = Phi() if case["kwargs"]["enable_phi_function"] else Uniform()
            loss, gradient = own_mix(case, case["kwargs"]["mu_peak"], weighting)
            ours.append(loss.item())
            assert torch.isfinite(gradient).all()
            assert abs(loss.item() - case["accumulated_loss"]) > 1e-5
            assert (gradient - f64(case["grad_logprob"])).abs().max() > 1e-2
        assert len(set(ours)) == 1
        assert len({case["accumulated_loss"] for case in same_batch}) > 1


def test_batches_of_one_kind_are_finite_where_the_public_code_is_not():
    undefined = 0
    for case in cases("trinity_mix_chord_edge_cases"):
        loss, gradient = own_mix(case, 0.1, Phi())
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        recorded = math.nan if case["loss"] == "nan" else case["loss"]
        assert not abs(loss.item() - recorded) < 1e-2
        undefined += math.isnan(recorded)
    assert undefined == 4


def branches(parameter, *, expert_mask, own_mask, rewards):
    logits = parameter.expand(*own_mask.shape, -1)
    targets = torch.zeros(own_mask.shape, dtype=torch.int64)
    stats = token_stats(logits, targets)
    weights = Phi(normalize="mean1")(stats, expert_mask)
    sft = sft_loss(stats.logprobs, weights, expert_mask, total=denominator(expert_mask))
    values, metrics = Grpo().token_losses(
        stats.logprobs, stats.logprobs, Advantage()(rewards).flatten(), own_mask
    )
    return sft, aggregate(values, own_mask, total=denominator(own_mask)), metrics


@pytest.mark.parametrize(
    ("expert", "own", "rewards"),
    [
        ((0, 0), (3, 2), (1 / 3, 1 / 3)),  # no expert tokens, all rewards equal
        ((0, 0), (0, 0), (1.0, 0.0)),  # no expert tokens, every rollout filtered out
    ],
)
def test_empty_branches_have_zero_and_not_missing_gradients(expert, own, rewards):
    parameter = f64([0.3, -0.2, 0.1]).requires_grad_()
    sft, rl, metrics = branches(
        parameter,
        expert_mask=lengths(*expert, width=3),
        own_mask=lengths(*own, width=3),
        rewards=f64([rewards]),
    )
    loss = mix(0.5, sft, rl)
    loss.backward()
    assert loss.item() == 0.0
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [0.0, 0.0, 0.0]
    assert all(torch.isfinite(metric) for metric in metrics.values())


def test_the_first_end_token_is_imitated_and_what_follows_it_is_not():
    # End and padding share the id 1. Row 1 is complete (7, end), row 2 truncated (8, 9, 7), row 3
    # ends at once. Targets are the tokens after the first; T = 4.
    end = 1
    batch = collate([[5, 6], [5, 6], [5, 6]], [[7, end], [8, 9, 7], [end]], pad_id=end)
    expected = [[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0]]
    assert batch.mask.tolist() == [[bool(value) for value in row] for row in expected]
    logits = torch.randn(3, 4, 10, dtype=torch.float64, requires_grad=True)
    stats = token_stats(logits, batch.targets)
    weights = Uniform()(stats, batch.mask)
    sft_loss(stats.logprobs, weights, batch.mask, total=denominator(batch.mask)).backward()
    learns_from = (logits.grad != 0).any(dim=-1)
    assert torch.equal(learns_from, batch.mask)
    assert logits.grad[0, 2, end] < 0  # the end token is pushed up


def test_prompt_tokens_have_no_gradient_in_either_branch():
    batch = collate([[5, 6, 7], [5]], [[8, 1], [9, 8, 1]], pad_id=0)
    logits = torch.randn(2, 4, 10, dtype=torch.float64, requires_grad=True)
    stats = token_stats(logits, batch.targets)
    total = denominator(batch.mask)
    sft = sft_loss(stats.logprobs, Phi()(stats, batch.mask), batch.mask, total=total)
    values, _ = Grpo().token_losses(stats.logprobs, stats.logprobs, f64([1, -1]), batch.mask)
    mix(0.5, sft, aggregate(values, batch.mask, total=total)).backward()
    assert (logits.grad[~batch.mask] == 0).all()


def test_ratios_are_read_at_the_sampling_temperature_and_weights_at_one():
    # Logits (0, 2). At T = 2 p of the second is e / (1 + e), at T = 1 e^2 / (1 + e^2).
    logits, target = f64([[0, 2]]), torch.tensor([1])
    sampled = token_logprobs(logits, target, temperature=2.0).exp().item()
    assert sampled == pytest.approx(math.e / (1 + math.e), abs=1e-15)
    p = math.e**2 / (1 + math.e**2)
    assert weight(Phi(), token_stats(logits, target)) == pytest.approx(p * (1 - p), abs=1e-15)


def test_on_the_first_update_the_value_reads_wrong_and_the_gradient_right():
    # r = 1: the token mean is -sum(A len) / sum(len) = -(1 * 4 - 1 * 1) / 5 = -.6, and 0 only for
    # equal lengths; the gradient is REINFORCE's.
    advantages, mask = f64([1, -1]), lengths(4, 1, width=4)
    logprobs = f64([[-0.5, -1, -2, -3], [-4, -1, -1, -1]]).requires_grad_()
    gradients, losses = [], []
    for objective in (Grpo(), Reinforce()):
        values, metrics = objective.token_losses(logprobs, logprobs.detach(), advantages, mask)
        loss = aggregate(values, mask, total=denominator(mask))
        gradients.append(torch.autograd.grad(loss, logprobs)[0])
        losses.append(loss.item())
        assert metrics["ratio"].item() == 5.0
    assert losses[0] == pytest.approx(-0.6, abs=1e-15)
    assert torch.equal(*gradients)
    equal = lengths(4, 4, width=4)
    values, _ = Grpo().token_losses(logprobs, logprobs.detach(), advantages, equal)
    assert aggregate(values, equal, total=8).item() == 0.0


def test_float32_logits_200_apart_stay_finite():
    logits = torch.tensor([[[200.0, 0.0, 0.0]]], requires_grad=True)
    other = torch.tensor([[[0.0, 200.0, 0.0]]])
    assert torch.isinf(logits.softmax(dim=-1).log()).any()  # what log(softmax) makes of them
    stats = token_stats(logits, torch.tensor([[1]]))
    assert stats.logprobs.item() == -200.0
    mask = lengths(1, width=1)
    losses = [
        sft_loss(stats.logprobs, Uniform()(stats, mask), mask, total=1),
        kl_exact(logits, other).sum(),
        kl_exact(logits, other, direction="to_policy").sum(),
        unified_objective(logits, other, torch.ones(1), alpha=0.5)[0],
        kl_estimate(stats.logprobs, token_logprobs(other, torch.tensor([[1]])), estimator="k3"),
    ]
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("size", range(2, 17))
def test_equal_rewards_teach_nothing_even_where_their_mean_is_rounded(size):
    # Eight rewards of 1/3 by name; three of .1 are a case in which the float64 mean is not .1, and
    # what is left over 1e-6 would still be a direction.
    assert f64([0.1] * 3).mean().item() != 0.1
    for reward in (1 / 3, 0.1, 0.7):
        rewards = f64([[reward] * size])
        for rule in (Advantage(), Advantage(scale="none"), Advantage(baseline="batch")):
            assert rule(rewards).tolist() == [[0.0] * size]
            assert rule(rewards.float()).tolist() == [[0.0] * size]


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match=r"^rollout\.group_size=1: must be at least 2"):
        Advantage()(f64([[1], [0]]))


def test_an_unknown_name_is_an_error_and_never_a_default():
    for build in (
        lambda: Phi(normalize="mean"),
        lambda: Advantage(baseline="groups"),
        lambda: Grpo(aggregation="tokens"),
        lambda: Kl(estimator="K3"),
    ):
        with pytest.raises(ValueError, match=r": must be one of "):
            build()


def test_gradients_are_those_of_finite_differences():
    # w, A and the old log-probabilities go in as constants; ratios .7 to 1.4 keep off the clip
    # bounds .8 and 1.2.
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    other = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    targets, mask = other.argmax(dim=-1), lengths(3, 2, width=3)
    constant = token_logprobs(logits, targets).detach()
    old = constant - f64([[0.7, 0.9, 1.1], [1.4, 1.0, 0.9]]).log()
    weights = Phi()(token_stats(logits, targets), mask)

    def imitation(given):
        return sft_loss(token_logprobs(given, targets), weights, mask, total=5)

    def surrogate(given):
        logprobs = token_logprobs(given, targets)
        values, _ = Grpo().token_losses(logprobs, old, f64([1, -0.5]), mask)
        return aggregate(values, mask, aggregation="sequence", total=2)

    def penalties(given):
        logprobs = token_logprobs(given, targets)
        estimates = [kl_estimate(logprobs, old, estimator=name) for name in ("k1", "k2", "k3")]
        exact = [kl_exact(given, other, direction=name) for name in ("from_policy", "to_policy")]
        return torch.stack(estimates + exact)

    def printed(given):
        return unified_objective(given, other, f64([1, 0]), alpha=0.3, weights=weights)[0]

    for function in (imitation, surrogate, penalties, printed):
        assert torch.autograd.gradcheck(function, logits)
