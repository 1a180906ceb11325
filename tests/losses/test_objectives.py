"""RL objectives: the clipped surrogate at its bounds, recorded losses, padding and constants."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import cases, f64, lengths

from chord.losses import (
    Cispo,
    Grpo,
    Gspo,
    Kl,
    Reinforce,
    aggregate,
    sft_loss,
)
from chord.weightings import (
    Importance,
    Phi,
    Uniform,
    token_stats,
)

ALL = [Grpo(), Grpo(dual_clip=3.0), Grpo(delta=2.0), Gspo(), Cispo(), Reinforce()]

# r, A, loss, gradient with respect to log p (-r A where the gradient flows), clipped. Clip .2/.28,
# so r counts between .8 and 1.28.
CLIPPING = [
    (1.0, 1.0, -1.0, -1.0, 0),  # on policy: REINFORCE
    (1.2, 1.0, -1.2, -1.2, 0),  # better and not yet 28 % more likely: go on
    (1.5, 1.0, -1.28, 0.0, 1),  # better and clipped above
    (0.5, 1.0, -0.5, -0.5, 0),  # better but got rarer: min keeps the gradient
    (1.0, -1.0, 1.0, 1.0, 0),
    (0.9, -1.0, 0.9, 0.9, 0),
    (0.5, -1.0, 0.8, 0.0, 1),  # worse and clipped below
    (1.5, -1.0, 1.5, 1.5, 0),  # worse but got likelier: min keeps the gradient, no dual clip
    (50.0, -2.0, 100.0, 100.0, 0),
    (1.5, 0.0, 0.0, 0.0, 0),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient", "clipped"), CLIPPING)
def test_the_clipped_surrogate_by_hand(ratio, advantage, loss, gradient, clipped):
    old = f64([[-3.0]])
    logprobs = (old + math.log(ratio)).requires_grad_()
    values, metrics = Grpo(clip_low=0.2, clip_high=0.28).token_losses(
        logprobs, old, f64([advantage]), lengths(1, width=1)
    )
    values.sum().backward()
    assert values.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert metrics["clip_fraction"].item() == clipped
    assert metrics["ratio"].item() == pytest.approx(ratio, abs=1e-12)
    # k3 of KL(old || policy): r - 1 - ln r.
    expected = ratio - 1 - math.log(ratio)
    assert metrics["approx_kl"].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("bound", "advantage"), [(1.25, 1.0), (0.75, -1.0)])
def test_at_the_bound_itself_the_token_still_learns(bound, advantage):
    # 1.25 and .75 are exact in binary and exp(log(.)) returns them, so r sits on the bound.
    old = torch.zeros(1, 1, dtype=torch.float64)
    logprobs = f64([[math.log(bound)]]).requires_grad_()
    assert logprobs.exp().item() == bound
    values, metrics = Grpo(clip_low=0.25, clip_high=0.25).token_losses(
        logprobs, old, f64([advantage]), lengths(1, width=1)
    )
    values.sum().backward()
    assert values.item() == -bound * advantage
    assert logprobs.grad.item() == -bound * advantage
    assert metrics["clip_fraction"].item() == 0


@pytest.mark.parametrize("gap", [200.0, -200.0])
def test_a_ratio_is_clamped_before_it_overflows(gap):
    # exp(200) is infinite in float32; the exponent is held at +-20.
    logprobs = torch.tensor([[gap]], requires_grad=True)
    values, metrics = Grpo().token_losses(
        logprobs, torch.zeros(1, 1), torch.tensor([-1.0]), lengths(1, width=1)
    )
    values.sum().backward()
    assert metrics["ratio"].item() == pytest.approx(math.exp(math.copysign(20, gap)), rel=1e-6)
    assert torch.isfinite(values).all()
    assert logprobs.grad.item() == 0.0


@pytest.mark.parametrize("case", cases("paper_equations"))
def test_the_papers_equations(case):
    logprobs, mask = f64(case["logprob"]).requires_grad_(), torch.tensor(case["mask"])
    stats = token_stats(torch.zeros(*mask.shape, 2), torch.zeros(mask.shape).long())
    stats.logprobs = logprobs
    tokens, rows = mask.sum(), mask.any(dim=-1).sum()

    values, _ = Grpo(clip_low=case["eps"], clip_high=case["eps"]).token_losses(
        logprobs, f64(case["old_logprob"]), f64(case["advantages"]), mask
    )
    eq2 = aggregate(values, mask, total=tokens)
    assert eq2.item() == pytest.approx(case["eq2_grpo"], rel=1e-12)

    def imitation(weighting, total):
        return sft_loss(logprobs, weighting(stats, mask), mask, total=total)

    per_row = "mean_over_sequences_of_token_sums"
    for weighting, total, expected in (
        (Uniform(), tokens, case["eq1_sft"]),
        (Importance(), tokens, case["eq4_sft_is_token_mean"]),
        (Importance(), rows, case[f"eq4_sft_is_{per_row}"]),
        (Phi(), tokens, case["eq6_sft_phi_token_mean"]),
        (Phi(), rows, case[f"eq6_sft_phi_{per_row}"]),
    ):
        assert imitation(weighting, total).item() == pytest.approx(expected, rel=1e-12)

    (gradient,) = torch.autograd.grad(imitation(Phi(), tokens), logprobs)
    detached, attached = (
        f64(case[f"grad_logprob_phi_{name}"]) for name in ("detached", "NOT_detached")
    )
    torch.testing.assert_close(gradient, detached, rtol=1e-12, atol=1e-17)
    assert (attached > 0).any()  # with an attached phi some expert tokens are pushed down
    assert (gradient <= 0).all()


def test_reinforce_by_hand():
    # -A ln .5 = 2 ln 2 with gradient -A = -2, whatever the old policy said.
    logprobs = f64([[0.5]]).log().requires_grad_()
    values, metrics = Reinforce().token_losses(
        logprobs, f64([[0.25]]).log(), f64([2]), lengths(1, width=1)
    )
    values.sum().backward()
    assert values.item() == pytest.approx(2 * math.log(2), abs=1e-15)
    assert logprobs.grad.item() == -2.0
    assert metrics["ratio"].item() == pytest.approx(2.0, abs=1e-15)
    assert set(metrics) == {"ratio", "approx_kl"}


@pytest.mark.parametrize("objective", ALL)
def test_objectives_ignore_what_is_outside_the_mask(objective):
    logprobs = f64([[-1.0, -math.inf], [-2.0, math.nan]]).requires_grad_()
    old = f64([[-1.0, -math.inf], [-2.0, math.nan]])
    values, metrics = objective.token_losses(logprobs, old, f64([1, -1]), lengths(1, 1, width=2))
    values.sum().backward()
    assert (values[:, 1] == 0).all()
    assert torch.isfinite(values).all()
    # r = 1 on both rows: the gradient is -A in the mask and 0 outside it.
    assert logprobs.grad.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert metrics["ratio"].item() == 2.0
    assert metrics["approx_kl"].item() == 0.0


@pytest.mark.parametrize("objective", ALL)
def test_objectives_give_no_gradient_to_constants(objective):
    old, advantages = f64([[-1.0]]).requires_grad_(), f64([1]).requires_grad_()
    logprobs = f64([[-1.1]]).requires_grad_()
    values, metrics = objective.token_losses(logprobs, old, advantages, lengths(1, width=1))
    values.sum().backward()
    assert logprobs.grad is not None
    assert old.grad is None
    assert advantages.grad is None
    assert not any(metric.requires_grad for metric in metrics.values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Grpo(clip_low=-0.1), "objective.clip_low=-0.1: must be within [0, 1]"),
        (lambda: Grpo(clip_low=1.5), "objective.clip_low=1.5: must be within [0, 1]"),
        (lambda: Grpo(clip_high=-1), "objective.clip_high=-1: must be a number >= 0"),
        (lambda: Gspo(clip_low=2), "objective.clip_low=2: must be within [0, 1]"),
        (
            lambda: Grpo(dual_clip=1.0),
            "objective.dual_clip=1.0: must be a number > 1, or null",
        ),
        (
            lambda: Grpo(dual_clip=math.inf),
            "objective.dual_clip=inf: must be a number > 1, or null",
        ),
        (
            lambda: Grpo(clip_high=0.28, delta=1.28),
            "objective.delta=1.28: must be a number > 1 + objective.clip_high = 1.28, or null",
        ),
        (
            lambda: Grpo(dual_clip=3.0, delta=4.0),
            "objective.delta=4.0: must be null with objective.dual_clip=3.0; both cap the ratio "
            "where A < 0, the larger one would do nothing",
        ),
        (lambda: Cispo(ratio_max=0.5), "objective.ratio_max=0.5: must be a number >= 1"),
        (lambda: Cispo(ratio_max=math.inf), "objective.ratio_max=inf: must be a number >= 1"),
        (
            lambda: Grpo(entropy_coef=-0.1),
            "objective.entropy_coef=-0.1: must be a number >= 0",
        ),
        (
            lambda: Grpo(overlong="drop"),
            "objective.overlong=drop: must be one of keep, mask",
        ),
        (lambda: Grpo(resample=-1), "objective.resample=-1: must be a whole number >= 0"),
        (lambda: Kl(coef=-1), "objective.kl.coef=-1: must be a number >= 0"),
        (lambda: Kl(coef=math.nan), "objective.kl.coef=nan: must be a number >= 0"),
        (lambda: Kl(to="self"), "objective.kl.to=self: must be one of reference, teacher"),
        (
            lambda: Kl(estimator="k4"),
            "objective.kl.estimator=k4: must be one of k1, k2, k3, exact",
        ),
        (
            lambda: Kl(direction="up", estimator="exact"),
            "objective.kl.direction=up: must be one of from_policy, to_policy",
        ),
        (lambda: Kl(where="in"), "objective.kl.where=in: must be one of loss, reward"),
        (
            lambda: Kl(coef=0.1, estimator="k1", where="loss"),
            "objective.kl.estimator=k1: its gradient as a loss is zero; "
            "use k2 or exact, or objective.kl.where=reward",
        ),
        (
            lambda: Kl(coef=0.1, direction="to_policy", estimator="k3"),
            "objective.kl.direction=to_policy: needs objective.kl.estimator=exact, not k3",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(build, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == message


def test_a_kl_that_is_off_is_measured_in_no_wrong_way():
    # As in a sweep over objective.kl.coef=0,.1 and the estimators.
    Kl(coef=0.0, estimator="k1", where="loss")
    Kl(coef=0.0, estimator="k3", direction="to_policy")
