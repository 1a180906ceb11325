"""Properties of the RL side that hold for all inputs: advantages, objectives, KL terms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import masks, quick, reals, tensors

from chord.losses import Cispo, Grpo, Reinforce, denominator, kl_estimate, kl_exact
from chord.losses.advantages import Advantage


@quick
@given(
    tensors(3, 4),
    st.sampled_from(["group", "batch", "rloo"]),
    st.sampled_from(["group", "batch", "whiten", "none"]),
    reals,
)
def test_advantages_forget_the_level_of_the_rewards(rewards, baseline, scale, shift):
    # Steps of 1/8 and a shift of the same grain: adding is exact.
    rewards = (rewards * 8).round() / 8
    shift = round(shift * 8) / 8
    rule = Advantage(baseline=baseline, scale=scale)
    torch.testing.assert_close(rule(rewards + shift), rule(rewards), rtol=1e-9, atol=1e-9)


@quick
@given(tensors(3, 4), st.permutations(range(4)))
def test_group_advantages_are_centred_scaled_and_blind_to_order(rewards, order):
    advantages = Advantage()(rewards)
    assert advantages.sum(dim=1).abs().max().item() <= 1e-6
    # |A| <= (K - 1) / sqrt(K): one answer against K - 1 equal ones, 1.5 for K = 4.
    assert advantages.abs().max().item() <= 1.5 + 1e-9
    torch.testing.assert_close(Advantage()(rewards[:, order]), advantages[:, order])
    best = rewards.argmax(dim=1)
    assert (advantages[torch.arange(3), best] >= 0).all()


@quick
@given(st.floats(-1e6, 1e6), st.integers(2, 16), st.sampled_from(["group", "batch"]))
def test_equal_rewards_of_any_size_give_exactly_zero(reward, size, over):
    rewards = torch.full((3, size), reward, dtype=torch.float64)
    assert (Advantage(baseline=over, scale=over)(rewards) == 0).all()


@quick
@given(tensors(2, 3), tensors(2, 3), tensors(2), masks(2, 3))
def test_the_clipped_surrogate_is_never_below_the_plain_one(logprobs, old, advantages, mask):
    # A minimum of the two is taken before the sign is turned.
    clipped, metrics = Grpo().token_losses(logprobs, old, advantages, mask)
    open_, _ = Grpo(clip_low=1.0, clip_high=1e12).token_losses(logprobs, old, advantages, mask)
    assert (clipped >= open_).all()
    assert torch.isfinite(clipped).all()
    assert 0 <= metrics["clip_fraction"].item() <= denominator(mask).item()
    assert metrics["approx_kl"].item() >= 0


@quick
@given(tensors(2, 3), tensors(2), masks(2, 3))
def test_on_policy_all_objectives_have_one_gradient(logprobs, advantages, mask):
    gradients = []
    for objective in (Grpo(), Grpo(dual_clip=3.0), Grpo(delta=2.0), Cispo(), Reinforce()):
        own = logprobs.clone().requires_grad_()
        values, metrics = objective.token_losses(own, own.detach(), advantages, mask)
        values.sum().backward()
        gradients.append(own.grad)
        assert metrics["ratio"].item() == denominator(mask).item()
    assert all(torch.equal(gradients[0], other) for other in gradients[1:])


@quick
@given(tensors(2, 4), tensors(2, 4), st.sampled_from(["from_policy", "to_policy"]))
def test_exact_kl_is_not_negative_and_zero_only_for_equals(policy, other, direction):
    kl = kl_exact(policy, other, direction=direction)
    assert (kl >= -1e-12).all()
    same = kl_exact(policy, policy + 3.0, direction=direction)
    assert same.abs().max().item() <= 1e-12


@quick
@given(tensors(5), tensors(5))
def test_k2_and_k3_are_not_negative(logprobs, ref):
    assert (kl_estimate(logprobs, ref, estimator="k2") >= 0).all()
    assert (kl_estimate(logprobs, ref, estimator="k3") >= 0).all()


@quick
@given(tensors(4), tensors(4))
def test_k1_and_k3_have_the_kl_as_their_mean(policy, ref):
    # Logits in +-9 keep log p above -18 - ln 4 = -19.4, so that no gap meets the clamp at +-20.
    policy, ref = policy * 0.3, ref * 0.3
    logprobs, ref_logprobs = policy.log_softmax(dim=-1), ref.log_softmax(dim=-1)
    exact = kl_exact(policy, ref).item()
    for estimator in ("k1", "k3"):
        values = kl_estimate(logprobs, ref_logprobs, estimator=estimator)
        mean = (logprobs.exp() * values).sum().item()
        assert mean == pytest.approx(exact, abs=1e-9)
