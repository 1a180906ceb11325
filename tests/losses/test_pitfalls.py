"""What is easy to get wrong when imitation and RL are mixed, one test for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from vectors import MODES, cases, f64, lengths, weight

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
from chord.losses.advantages import Advantage
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


Totals = Callable[[Tensor], tuple[Tensor | float, Tensor | float]]


def recorded_mix(
    case: dict[str, Any], totals: Totals, *, aggregation: str = "token", cut: bool = True
) -> tuple[Tensor, Tensor]:
    """The mix of a recorded batch, rows of both kinds in it, and its gradient, piece by piece.

    `totals`: what a piece's sums over its expert's and its own rows (n,) are divided by. The
    published loss has a dual clip of 3.
    """
    logprobs = f64(case["logprob"]).requires_grad_()
    old, advantages = f64(case["old_logprob"]), f64(case["advantages"])
    mask, expert = torch.tensor(case["mask"]), torch.tensor(case["expert_mask"])
    sizes = case.get("micro_batches", [len(mask)])
    loss = torch.zeros((), dtype=torch.float64)
    for rows in torch.arange(len(mask)).split(sizes if cut else len(mask)):
        imitated, sampled = (mask[rows] & kind[rows, None] for kind in (expert, ~expert))
        stats = token_stats(torch.zeros(*imitated.shape, 2), torch.zeros(imitated.shape).long())
        stats.logprobs = logprobs[rows]
        of_expert, of_own = totals(rows)
        sft = sft_loss(stats.logprobs, Phi()(stats, imitated), imitated, total=of_expert)
        values, _ = Grpo(dual_clip=3.0).token_losses(
            logprobs[rows], old[rows], advantages[rows], sampled
        )
        rl = aggregate(values, sampled, aggregation=aggregation, total=of_own)
        loss = loss + mix(case["kwargs"]["mu_peak"], sft, rl)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    return loss.detach(), gradient


def tokens_of_the_step(case: dict[str, Any]) -> Totals:
    """Ours: the tokens of all pieces."""
    mask, expert = torch.tensor(case["mask"]), torch.tensor(case["expert_mask"])
    totals = denominator(mask[expert]), denominator(mask[~expert])
    return lambda rows: totals


def tokens_of_the_piece(case: dict[str, Any]) -> Totals:
    """Theirs: a mean of the piece's own, weighted by its share of the rows that were planned."""
    mask, expert = torch.tensor(case["mask"]), torch.tensor(case["expert_mask"])
    planned = [case["kwargs"][f"train_batch_size_{kind}"] for kind in ("expert", "usual")]

    def totals(rows: Tensor) -> tuple[Tensor | float, Tensor | float]:
        of_expert, of_own = (
            denominator(mask[rows][kind[rows]]) * rows_planned / max(1, int(kind[rows].sum()))
            for kind, rows_planned in zip((expert, ~expert), planned, strict=True)
        )
        return of_expert, of_own

    return totals


def test_public_accumulation_depends_on_the_cut_and_ours_does_not():
    recorded: dict[int, list[dict]] = {}
    for case in cases("trinity_microbatch_accumulation"):
        assert case["kwargs"]["enable_phi_function"]
        recorded.setdefault(case["seed"], []).append(case)
    whole_ones = 0
    for same_batch in recorded.values():
        for case in same_batch:
            loss, gradient = recorded_mix(case, tokens_of_the_step(case))
            # The cut does not change ours.
            whole, whole_gradient = recorded_mix(case, tokens_of_the_step(case), cut=False)
            assert loss.item() == pytest.approx(whole.item(), abs=1e-14)
            torch.testing.assert_close(gradient, whole_gradient, rtol=0, atol=1e-14)
            # Theirs are means of means, and nothing else.
            means, means_gradient = recorded_mix(case, tokens_of_the_piece(case))
            assert means.item() == pytest.approx(case["accumulated_loss"], rel=1e-7)
            theirs = f64(case["grad_logprob"])
            torch.testing.assert_close(means_gradient, theirs, rtol=1e-7, atol=1e-12)
            # So where nothing is cut they are ours, and where something is they are not.
            if len(case["micro_batches"]) == 1:
                whole_ones += 1
                assert loss.item() == pytest.approx(case["accumulated_loss"], rel=1e-7)
                torch.testing.assert_close(gradient, theirs, rtol=1e-7, atol=1e-12)
            else:
                assert abs(loss.item() - case["accumulated_loss"]) > 1e-3
                assert (gradient - theirs).abs().max() > 1e-3
        assert len({case["accumulated_loss"] for case in same_batch}) > 1
    assert whole_ones == 2


def test_batches_of_one_kind_are_finite_where_the_public_code_is_not():
    undefined = 0
    for case in cases("trinity_mix_chord_edge_cases"):
        loss, gradient = recorded_mix(case, tokens_of_the_step(case))
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        if case["loss"] == "nan":
            undefined += 1
            continue
        # Four rows of one kind where two were planned count twice there; else they are ours.
        aggregation, divisor = MODES[case["kwargs"]["sft_loss_agg_mode"]]
        mask = torch.tensor(case["mask"])
        total = mask.sum() if aggregation == "token" else divisor(mask)
        theirs, _ = recorded_mix(
            case, lambda rows, total=total: (total, total), aggregation=aggregation
        )
        assert 2 * theirs.item() == pytest.approx(case["loss"], rel=1e-7)
        if aggregation == "token":
            assert loss.item() == pytest.approx(theirs.item(), rel=1e-12)
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
