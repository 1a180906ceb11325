"""The printed unified objective and what it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import cases, f64, lengths

from chord.losses import (
    Kl,
    Reinforce,
    aggregate,
    unified_objective,
)
from chord.weightings import (
    Adaptive,
    Entropy,
    Margin,
    Uniform,
    minmax_signal,
    token_stats,
)


def unified_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs = next(
        case["inputs"] for case in cases("original_token_weights") if case["seed"] == seed
    )
    names = ("model_logits", "expert_logits", "rl_rewards")
    model, expert, rewards = (f64(inputs[name]) for name in names)
    return model.requires_grad_(), expert, rewards


def unified_weights(strategy, model, expert, rewards):
    targets = expert.argmax(dim=-1)
    weighting = {
        "adaptive": Adaptive(),
        "entropy": Entropy(),
        "margin": Margin(),
        "none": Uniform(),
    }[strategy]
    return weighting(
        token_stats(model, targets),
        torch.ones_like(targets, dtype=torch.bool),
        expert=token_stats(expert, targets),
        signal=minmax_signal(rewards),
    )


def with_attached_weights(case, model, expert, rewards):
    """The printed loss, written out, with weights that are functions of the model."""
    logprobs, q = model.log_softmax(dim=-1), expert.softmax(dim=-1)
    if case["strategy"] == "entropy":
        weights = -(logprobs.exp() * logprobs).sum(dim=-1) / math.log(model.shape[-1])
    else:
        weights = (q.amax(dim=-1) - logprobs.exp().amax(dim=-1)).clamp(0, 1)
    nll = -logprobs.gather(-1, expert.argmax(dim=-1, keepdim=True)).squeeze(-1)
    rl = 0.1 * (q * (q.log() - logprobs)).sum(dim=-1) - rewards
    return case["alpha"] * (weights * nll).mean() + (1 - case["alpha"]) * (weights * rl).mean()


@pytest.mark.parametrize("case", cases("original_unified_objective"))
def test_the_unified_objective_reproduces_the_original_description(case):
    model, expert, rewards = unified_case(case["seed"])
    weights = unified_weights(case["strategy"], model, expert, rewards)
    loss, metrics = unified_objective(model, expert, rewards, alpha=case["alpha"], weights=weights)
    loss.backward()
    assert loss.item() == pytest.approx(case["metrics"]["total_loss"], abs=1e-7)
    for name, value in metrics.items():
        assert value.item() == pytest.approx(case["metrics"][name], abs=1e-7)
    norm = model.grad.norm().item()
    assert norm == pytest.approx(case["grad_norm_if_weights_detached"], abs=1e-7)
    if case["strategy"] in ("entropy", "margin"):
        # There the original lets the gradient into its weights, which alone makes the difference.
        attached = with_attached_weights(case, model, expert, rewards)
        (theirs,) = torch.autograd.grad(attached, model)
        assert theirs.norm().item() == pytest.approx(case["grad_norm"], abs=1e-7)
        assert abs(norm - case["grad_norm"]) > 1e-4
    elif case["grad_model_logits"] is not None:
        expected = f64(case["grad_model_logits"])
        torch.testing.assert_close(model.grad, expected, rtol=0, atol=1e-7)


def test_the_unified_objective_by_hand():
    # P = (1/2, 1/2), Q = (3/4, 1/4), reward 1: sft ln 2, KL(Q || P) = .75 ln 1.5 + .25 ln .5.
    loss, metrics = unified_objective(
        f64([[[0, 0]]]), f64([[[3, 1]]]).log(), f64([1]), alpha=0.5, weights=f64([[0.5]])
    )
    kl = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    sft, rl = 0.5 * math.log(2), 0.5 * (-1 + 0.1 * kl)
    assert metrics["sft_loss"].item() == pytest.approx(sft, abs=1e-15)
    assert metrics["rl_loss"].item() == pytest.approx(rl, abs=1e-15)
    assert loss.item() == pytest.approx(0.5 * sft + 0.5 * rl, abs=1e-15)


def test_in_the_printed_unified_objective_rewards_reach_no_parameter():
    model, expert, rewards = unified_case(900)
    gradients = []
    for given in (torch.zeros_like(rewards), 100 * rewards):
        loss, _ = unified_objective(model, expert, given, alpha=0.0)
        gradients.append(torch.autograd.grad(loss, model)[0])
    assert torch.equal(*gradients)


def test_what_the_unified_objective_means_is_reinforce_with_an_exact_kl():
    # Two tokens, P = (.5, .5), Q = (.75, .25), token 0 was drawn with A = 2.
    # d(-A log p_0)/dz = -2 (1 - .5, -.5) = (-1, 1). d KL(Q || P)/dz = P - Q = (-.25, .25).
    logits = f64([[[0, 0]]]).requires_grad_()
    teacher = f64([[[3, 1]]]).log()
    kl = Kl(coef=0.1, to="teacher", estimator="exact", direction="to_policy")
    objective = Reinforce(kl=kl)
    logprobs = logits.log_softmax(dim=-1)[..., 0]
    mask = lengths(1, width=1)
    values, _ = objective.token_losses(logprobs, logprobs, f64([2]), mask)
    aggregate(values + kl.coef * kl(logits, teacher), mask, total=1).backward()
    assert logits.grad[0, 0].tolist() == pytest.approx([-1.025, 1.025], abs=1e-15)


def test_weights_that_are_given_attached_are_constants_all_the_same():
    model, expert, rewards = unified_case(900)
    attached = model.softmax(dim=-1).amax(dim=-1)
    gradients = []
    for weights in (attached, attached.detach()):
        loss, _ = unified_objective(model, expert, rewards, alpha=0.3, weights=weights)
        gradients.append(torch.autograd.grad(loss, model, retain_graph=True)[0])
    assert torch.equal(*gradients)
