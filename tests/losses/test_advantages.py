"""Advantages: hand-derived values, recorded vectors, and sets without any difference in them."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import cases, f64

from chord.losses.advantages import Advantage, SrftAdvantage, centred_penalty, compute_advantages


def test_group_advantage_of_one_right_answer_in_four():
    # mean 1/4, squared gaps 9/16 + 3/16 = 3/4, unbiased variance 1/4, std 1/2.
    # (3/4) / .500001 and (-1/4) / .500001.
    advantages = Advantage()(f64([[1, 0, 0, 0]]))
    expected = f64([[0.75, -0.25, -0.25, -0.25]]) / 0.500001
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-15)


def test_batch_baseline_is_one_mean_for_all_problems():
    # mean of 1, 0, 1, 1 is 3/4.
    advantages = Advantage(baseline="batch", scale="none")(f64([[1, 0], [1, 1]]))
    assert advantages.tolist() == [[0.25, -0.75], [0.25, 0.25]]


def test_group_baseline_with_batch_scale_divides_all_groups_alike():
    # Gaps +-.5 and 0, 0. Over the batch 1, 0, 1, 1: mean 3/4, squared gaps 3/16 + 9/16 = 3/4,
    # unbiased variance 1/4, std .5.
    advantages = Advantage(baseline="group", scale="batch")(f64([[1, 0], [1, 1]]))
    expected = f64([[0.5, -0.5], [0, 0]]) / 0.500001
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-15)


def test_without_baseline_and_scale_the_reward_is_the_advantage():
    rewards = f64([[0.2, 0.7], [1.0, 1.0]])
    assert torch.equal(Advantage(baseline="none", scale="none")(rewards), rewards)


@pytest.mark.parametrize("case", cases("trinity_grpo_group_advantage"))
def test_group_advantage_reproduces_the_published_function(case):
    if len(case["rewards"]) == 1:  # of which the source makes A = R; refused here
        with pytest.raises(ValueError, match=r"^rollout\.group_size=1: must be at least 2 "):
            Advantage()(f64([case["rewards"]]))
        return
    advantages = Advantage()(f64([case["rewards"]]))[0]
    if case["kept"] == 0:  # a group without any difference, which the source drops
        assert advantages.tolist() == [0.0] * len(case["rewards"])
        return
    expected = f64(case["advantages_on_first_token"])
    torch.testing.assert_close(advantages, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", cases("swift_advantages"))
def test_centring_and_scaling_reproduce_the_published_function(case):
    # That source adds 1e-4 to the std.
    size = case["K"]
    advantages = compute_advantages(
        f64(case["rewards"]).reshape(-1, size),
        baseline={"grpo": "group", "rloo": "rloo"}[case["advantage_estimator"]],
        scale=case["scale_rewards"],
        epsilon=1e-4,
    )
    expected = f64(case["advantages"]).reshape(-1, size)
    torch.testing.assert_close(advantages, expected, rtol=1e-9, atol=0)


def test_leaving_oneself_out_compares_with_the_mean_of_the_others():
    # 1 - (0 + 0 + 0) / 3 = 1 and 0 - (1 + 0 + 0) / 3 = -1/3; 3 - (1 + 2 + 6) / 3 = 0 and so on.
    advantages = Advantage(baseline="rloo", scale="none")(f64([[1, 0, 0, 0], [3, 1, 2, 6]]))
    expected = f64([[1, -1 / 3, -1 / 3, -1 / 3], [0, -8 / 3, -4 / 3, 4]])
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-15)


def test_whitening_divides_by_the_spread_of_the_centred_values():
    # Centred: +-.5 and +-1.5. Squares .5 + 4.5 = 5, unbiased variance 5/3. `scale=batch` divides by
    # the spread of the rewards themselves: mean 4, squares 16 + 9 + 4 + 25 = 54, variance 18.
    rewards = f64([[0, 1], [6, 9]])
    centred = f64([[-0.5, 0.5], [-1.5, 1.5]])
    for scale, variance in (("whiten", 5 / 3), ("batch", 18)):
        advantages = Advantage(baseline="group", scale=scale)(rewards)
        expected = centred / (math.sqrt(variance) + 1e-6)
        torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("baseline", ["group", "rloo", "batch", "none"])
def test_whitened_advantages_have_mean_zero_and_spread_one(baseline):
    rewards = f64([[0.3, 1, 0.1], [0.7, 0.2, 0.9]])
    advantages = Advantage(baseline=baseline, scale="whiten")(rewards)
    assert advantages.mean().item() == pytest.approx(0, abs=1e-15)
    assert advantages.std().item() == pytest.approx(1, abs=1e-5)


def test_whitened_rewards_are_those_of_the_batch():
    rewards = f64([[0.3, 1, 0.1], [0.7, 0.2, 0.9]])
    whitened = Advantage(baseline="none", scale="whiten")(rewards)
    assert torch.equal(whitened, Advantage(baseline="batch", scale="batch")(rewards))


@pytest.mark.parametrize("baseline", ["group", "rloo"])
def test_whitening_gives_no_signal_to_a_group_without_one(baseline):
    # The mean of the centred .1, .3, .4 is 1e-18 or so, not 0: it may not be subtracted from zeros.
    rewards = f64([[0.1, 0.3, 0.4], [0.7, 0.7, 0.7]])
    advantages = Advantage(baseline=baseline, scale="whiten")(rewards)
    assert advantages[1].tolist() == [0.0, 0.0, 0.0]
    assert (advantages[0] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("baseline", ["group", "batch", "rloo"])
@pytest.mark.parametrize("scale", ["group", "batch", "whiten", "none"])
def test_equal_rewards_give_exactly_zero(dtype, baseline, scale):
    rewards = torch.full((3, 7), 0.1, dtype=dtype)  # the mean of seven .1 is not .1
    advantages = Advantage(baseline=baseline, scale=scale)(rewards)
    assert torch.equal(advantages, torch.zeros_like(rewards))


def test_a_constant_group_is_not_blown_up_by_its_own_spread_of_zero():
    # Batch mean 1/2: centred to +-1/2, but the groups' std is 0 and 1/2 / 1e-6 would be 500,000.
    advantages = Advantage(baseline="batch", scale="group")(f64([[1, 1], [0, 0]]))
    assert advantages.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_statistics_are_in_float64_and_the_result_in_the_rewards_dtype():
    # In float32 16777216 + 1 == 16777216: the mean of the group would be wrong.
    rewards = torch.tensor([[16777216.0, 16777218.0]], dtype=torch.float32)
    advantages = Advantage(scale="none")(rewards)
    assert advantages.dtype == torch.float32
    assert advantages.tolist() == [[-1.0, 1.0]]
    assert Advantage()(torch.tensor([[1, 0]])).dtype == torch.float64


def test_advantages_carry_no_gradient():
    assert not Advantage()(f64([[1, 0]]).requires_grad_()).requires_grad


def test_a_group_of_one_is_refused_where_it_would_be_compared_with_itself():
    rewards = f64([[1], [0]])
    for baseline, scale in (("group", "none"), ("rloo", "none"), ("batch", "group")):
        with pytest.raises(ValueError, match=r"^rollout\.group_size=1: must be at least 2 with "):
            compute_advantages(rewards, baseline=baseline, scale=scale)
    batch = compute_advantages(rewards, baseline="batch", scale="batch")
    # mean .5, unbiased variance 2 * .25 / 1 = .5.
    assert batch[0].item() == pytest.approx(0.5 / (math.sqrt(0.5) + 1e-6), abs=1e-15)


def test_one_answer_in_all_has_no_batch_to_differ_from():
    assert compute_advantages(f64([[1]]), baseline="batch", scale="batch").tolist() == [[0.0]]


@pytest.mark.parametrize("baseline", ["group", "batch", "none", "rloo"])
@pytest.mark.parametrize("scale", ["group", "batch", "whiten", "none"])
def test_a_step_without_problems_has_no_advantages(baseline, scale):
    assert Advantage(baseline=baseline, scale=scale)(torch.zeros(0, 8)).shape == (0, 8)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("baseline", "group, all, on_policy, batch, none, rloo"),
        ("scale", "group, batch, whiten, none"),
    ],
)
def test_an_unknown_name_is_refused(name, allowed):
    message = rf"^advantage\.{name}=mean: must be one of {allowed}$"
    with pytest.raises(ValueError, match=message):
        Advantage(**{name: "mean"})


def test_a_penalty_is_centred_and_divided_by_no_spread():
    penalty = f64([[0.3, 0.1, 0.2, 0.2], [0.0, 0.4, 0.0, 0.0]])
    # Group means .2 and .1; the batch's is .15; K / (K - 1) = 4/3 for the mean of the others.
    group = f64([[0.1, -0.1, 0, 0], [-0.1, 0.3, -0.1, -0.1]])
    for baseline in ("group", "all", "on_policy"):
        found = centred_penalty(penalty, baseline=baseline)
        torch.testing.assert_close(found, group, rtol=0, atol=1e-15)
    rloo = centred_penalty(penalty, baseline="rloo")
    torch.testing.assert_close(rloo, group * 4 / 3, rtol=0, atol=1e-15)
    batch = centred_penalty(penalty, baseline="batch")
    torch.testing.assert_close(batch, penalty - 0.15, rtol=0, atol=1e-15)
    assert torch.equal(centred_penalty(penalty, baseline="none"), penalty)
    # The last one of each is an expert's: no penalty, and in no mean. (.3 + .1 + .2) / 3 = .2 and
    # .4 / 3; over the batch 1 / 6.
    own = torch.tensor([[True, True, True, False]] * 2)
    found = centred_penalty(penalty, baseline="group", own=own)
    third = 0.4 / 3
    wanted = f64([[0.1, -0.1, 0, 0], [-third, 2 * third, -third, 0]])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)
    found = centred_penalty(penalty, baseline="batch", own=own)
    wanted = (penalty - 1 / 6).masked_fill(~own, 0.0)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)
    assert centred_penalty(f64([[1 / 3] * 8]), baseline="group").any().item() is False
    assert centred_penalty(penalty[:0], baseline="batch").shape == (0, 4)


def test_what_is_whitened_is_penalised_around_the_mean_too():
    penalty = f64([[0.3, 0.1], [0.0, 0.0]])
    for scale, wanted in (("whiten", penalty - 0.1), ("group", penalty)):
        found = Advantage(baseline="none", scale=scale).penalty(penalty)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)


def test_right_is_what_the_scores_say_and_not_the_rewards():
    # Answers of half a nat a token: .1 e^.5. The second is right and lost .05 for its length, the
    # third is wrong and was well formed.
    rewards, scores = f64([[1, 0.95, 1, 0]]), f64([[1, 1, 0, 0]])
    entropy = f64([[0.5] * 4])
    found = SrftAdvantage()(rewards, entropy=entropy, scores=scores)
    right = 0.1 * math.exp(0.5)
    torch.testing.assert_close(found, f64([[right, right, -1, -1]]), rtol=0, atol=1e-15)
