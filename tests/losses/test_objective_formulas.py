"""Capped ratios, GSPO, CISPO, entropy and groups with signal, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import f64, lengths

from chord.losses import Cispo, Grpo, Gspo, aggregate, group_signal, token_entropy

# r, A, loss, gradient, held. Clip .2/.2 and a bound of 3 for r where A < 0.
CAPPING = [
    (2.9, -1.0, 2.9, 2.9, 0),
    (5.0, -1.0, 3.0, 0.0, 1),  # held: no longer pushed down
    (5.0, -2.0, 6.0, 0.0, 1),
    (0.5, -1.0, 0.8, 0.0, 0),  # clipped below as ever
    (5.0, 1.0, -1.2, 0.0, 0),  # A > 0 is clipped at 1.2 already
    (0.5, 1.0, -0.5, -0.5, 0),
    (5.0, 0.0, 0.0, 0.0, 0),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient", "held"), CAPPING)
@pytest.mark.parametrize("setting", ["dual_clip", "delta"])
def test_a_dual_clip_and_a_delta_hold_the_loss_of_a_worse_answer(
    setting, ratio, advantage, loss, gradient, held
):
    old = f64([[-3.0]])
    logprobs = (old + math.log(ratio)).requires_grad_()
    values, metrics = Grpo(**{setting: 3.0}).token_losses(
        logprobs, old, f64([advantage]), lengths(1, width=1)
    )
    values.sum().backward()
    assert values.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert metrics["ratio"].item() == pytest.approx(ratio, abs=1e-12)
    if setting == "dual_clip":
        assert metrics["dual_clip_fraction"].item() == held


@pytest.mark.parametrize("bound", [1.3, 2.0, 4.0])
def test_a_dual_clip_and_a_delta_of_the_same_bound_are_one_function(bound):
    ratios = torch.linspace(-2, 2, 81, dtype=torch.float64).expand(2, 81)
    old, advantages = torch.zeros(2, 81, dtype=torch.float64), f64([1.5, -1.5])
    found = []
    for objective in (Grpo(dual_clip=bound), Grpo(delta=bound)):
        logprobs = ratios.clone().requires_grad_()
        values, _ = objective.token_losses(logprobs, old, advantages, lengths(81, 81, width=81))
        values.sum().backward()
        found.append((values.detach(), logprobs.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-15)


def test_gspo_is_a_mean_over_answers_clipped_closely():
    assert (Gspo().aggregation, Gspo().clip_low, Gspo().clip_high) == ("sequence", 3e-4, 4e-4)


def test_gspo_by_hand():
    # Log-ratios .1 and .3: s = e^.2. Both tokens carry the loss -s; the gradient of their mean is
    # -s / 2 on each.
    old = f64([[-1.0, -2.0]])
    logprobs = f64([[-0.9, -1.7]]).requires_grad_()
    wide = Gspo(clip_low=0.5, clip_high=0.5)
    values, metrics = wide.token_losses(logprobs, old, f64([1]), lengths(2, width=2))
    s = math.exp(0.2)
    assert values.tolist()[0] == pytest.approx([-s, -s], abs=1e-15)
    aggregate(values, lengths(2, width=2), aggregation="sequence", total=1).backward()
    assert logprobs.grad.tolist()[0] == pytest.approx([-s / 2, -s / 2], abs=1e-15)
    assert metrics["ratio"].item() == pytest.approx(2 * s, abs=1e-15)
    assert metrics["clip_fraction"].item() == 0
    # The paper's clip of 4e-4 stops the whole answer, the token with the smaller ratio too.
    logprobs.grad = None
    values, metrics = Gspo().token_losses(logprobs, old, f64([1]), lengths(2, width=2))
    values.sum().backward()
    assert values.tolist()[0] == pytest.approx([-1.0004, -1.0004], abs=1e-15)
    assert logprobs.grad.tolist() == [[0.0, 0.0]]
    assert metrics["clip_fraction"].item() == 2


def test_gspo_sees_one_ratio_where_grpo_sees_many():
    # Log-ratios .5 and -.5: s = 1, so nothing is clipped and each token has -1/2 of REINFORCE's
    # gradient under a mean over the answer; GRPO clips the first and gives the second e^-.5 / 2.
    old = f64([[-1.0, -1.0]])
    found = []
    for objective in (Gspo(), Grpo()):
        logprobs = f64([[-0.5, -1.5]]).requires_grad_()
        mask = lengths(2, width=2)
        values, _ = objective.token_losses(logprobs, old, f64([1]), mask)
        aggregate(values, mask, aggregation="sequence", total=1).backward()
        found += logprobs.grad.tolist()[0]
    assert found == pytest.approx([-0.5, -0.5, 0, -math.exp(-0.5) / 2], abs=1e-15)


@pytest.mark.parametrize("gap", [200.0, -200.0])
@pytest.mark.parametrize("objective", [Gspo(), Cispo(), Grpo(delta=3.0), Grpo(dual_clip=3.0)])
def test_no_ratio_overflows(objective, gap):
    logprobs = torch.tensor([[gap, -1.0]], requires_grad=True)
    old = torch.tensor([[0.0, -1.0]])
    for sign in (1.0, -1.0):
        values, metrics = objective.token_losses(
            logprobs, old, torch.tensor([sign]), lengths(2, width=2)
        )
        (gradient,) = torch.autograd.grad(values.sum(), logprobs)
        assert torch.isfinite(values).all()
        assert torch.isfinite(gradient).all()
        assert all(torch.isfinite(value) for value in metrics.values())


# r, ratio_max 2: loss -min(r, 2) A ln .5 with A = 2, gradient -min(r, 2) A, capped.
@pytest.mark.parametrize(
    ("ratio", "gradient", "capped"), [(0.5, -1, 0), (1, -2, 0), (1.5, -3, 0), (5, -4, 1)]
)
def test_cispo_by_hand(ratio, gradient, capped):
    logprobs = f64([[0.5]]).log().requires_grad_()
    old = f64([[0.5 / ratio]]).log()
    values, metrics = Cispo().token_losses(logprobs, old, f64([2]), lengths(1, width=1))
    values.sum().backward()
    assert values.item() == pytest.approx(-gradient * math.log(2), abs=1e-12)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert metrics["clip_fraction"].item() == capped


def test_entropy_by_hand():
    # (.5, .5): ln 2. (.75, .25): .75 ln (4/3) + .25 ln 4 = .56234. The excluded token adds nothing.
    logits = torch.stack([f64([0, 0, -math.inf]), f64([3, 1, 0]).log()]).requires_grad_()
    entropy = token_entropy(logits)
    expected = [math.log(2), 0.75 * math.log(4 / 3) + 0.25 * math.log(4)]
    assert entropy.tolist() == pytest.approx(expected, abs=1e-15)
    (gradient,) = torch.autograd.grad(entropy.sum(), logits)
    # dH/dz_i = -p_i (log p_i + H): 0 for equals; for .75: -.75 (ln .75 + .56234) = -.20599.
    assert gradient[0].tolist() == pytest.approx([0, 0, 0], abs=1e-15)
    slope = -0.75 * (math.log(0.75) + expected[1])
    assert gradient[1].tolist() == pytest.approx([slope, -slope, 0], abs=1e-15)


def test_entropy_of_logits_far_apart_is_finite():
    logits = torch.tensor([[200.0, 0.0, -200.0], [1e4, 0.0, 0.0]], requires_grad=True)
    token_entropy(logits).sum().backward()
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_groups_with_signal_are_found_by_comparison():
    # The mean of seven .1 is not .1.
    rewards = f64([[1] * 7, [0] * 7, [1] * 6 + [0], [0.1] * 7])
    assert group_signal(rewards).tolist() == [False, False, True, False]
    assert group_signal(torch.zeros(0, 3)).tolist() == []
