"""What holds for every token weight of the registry, whatever its formula."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from rows.weightings import RULES, largest
from vectors import f64, stats_of, weight

from chord.losses import sft_loss
from chord.weightings import Phi, TokenStats, Weighting, minmax_signal, token_logprobs, token_stats

every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
normalized = pytest.mark.parametrize("normalize", ["none", "mean1"])


def everything(*, rows: int = 3, length: int = 5, vocabulary: int = 7, seed: int = 0) -> dict:
    """Random inputs for every weighting; the model's logits carry gradient."""
    generator = torch.Generator().manual_seed(seed)

    def logits(scale: float) -> torch.Tensor:
        shape = (rows, length, vocabulary)
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    policy, expert, reference = logits(2).requires_grad_(), logits(4), logits(2)
    targets = expert.argmax(dim=-1)
    mask = torch.rand(rows, length, generator=generator) < 0.7
    # A row with all of its tokens and a row with none.
    mask[0], mask[-1] = True, False
    return {
        "logits": policy,
        "targets": targets,
        "mask": mask,
        "others": {
            "expert": token_stats(expert, targets),
            "reference": token_logprobs(reference, targets),
            "signal": minmax_signal(torch.randn(rows, generator=generator, dtype=torch.float64)),
        },
    }


def stats_for(rule: Weighting, logits: torch.Tensor, targets: torch.Tensor) -> TokenStats:
    return token_stats(logits, targets, top_k=rule.top_k)


@normalized
@every_rule
def test_the_gradient_of_the_loss_with_respect_to_log_p_is_minus_w_over_n(rule, normalize):
    given, rule = everything(), dataclasses.replace(rule, normalize=normalize)
    stats = stats_for(rule, given["logits"], given["targets"])
    stats.logprobs.retain_grad()
    mask = given["mask"]
    weights = rule(stats, mask, **given["others"])
    assert (weights > 0).any()
    assert (weights >= 0).all()
    sft_loss(stats.logprobs, weights, mask, total=mask.sum()).backward()
    torch.testing.assert_close(stats.logprobs.grad, -weights / mask.sum(), rtol=1e-15, atol=0)
    assert (stats.logprobs.grad[~mask] == 0).all()


@normalized
@every_rule
def test_no_gradient_flows_through_the_weight_of_attached_statistics(rule, normalize):
    # Everything the rule could read hangs on the logits. The gradient with respect to them has to
    # be that of a constant times -log p all the same: -(w / N) (one-hot - P).
    given, rule = everything(), dataclasses.replace(rule, normalize=normalize)
    logits, mask = given["logits"], given["mask"]
    logprobs = logits.log_softmax(dim=-1)
    p = logprobs.exp()
    entropy = -(p * logprobs).sum(dim=-1)
    target = torch.nn.functional.one_hot(given["targets"], logits.shape[-1])
    chosen = (logprobs * target).sum(dim=-1)
    attached = TokenStats(chosen, entropy, p.amax(dim=-1), logits.shape[-1], entropy)
    others = {
        "expert": attached,
        "reference": 0.5 * chosen,
        "signal": p[:, 0, 0],
    }
    weights = rule(attached, mask, **others)
    assert not weights.requires_grad
    sft_loss(chosen, weights, mask, total=mask.sum()).backward()
    expected = -(weights / mask.sum()).unsqueeze(-1) * (target - p.detach())
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-15)


@every_rule
def test_a_small_step_raises_every_token_that_has_a_weight(rule):
    # Most p far below .2356, where an attached phi would push rare tokens down; two are likely.
    given = everything(vocabulary=30)
    likely = torch.nn.functional.one_hot(given["targets"][0, :2], 30)
    given["logits"].data[0, :2] += 6 * likely
    stats = stats_for(rule, given["logits"], given["targets"])
    assert stats.logprobs.exp().median() < 0.1
    mask = given["mask"]
    weights = rule(stats, mask, **given["others"])
    sft_loss(stats.logprobs, weights, mask, total=mask.sum()).backward()
    moved = given["logits"].detach() - 1e-3 * given["logits"].grad
    change = token_logprobs(moved, given["targets"]) - stats.logprobs.detach()
    # Below 1e-9 a step is lost in rounding.
    assert (weights > 1e-9).any()
    assert (change[weights > 1e-9] > 0).all()
    assert (change[weights == 0] == 0).all()


@every_rule
def test_gradcheck_with_the_weights_as_constants(rule):
    given = everything(rows=2, length=3, vocabulary=4)
    mask = given["mask"]
    stats = stats_for(rule, given["logits"], given["targets"])
    weights = rule(stats, mask, **given["others"])

    def loss(logits: torch.Tensor) -> torch.Tensor:
        logprobs = token_logprobs(logits, given["targets"])
        return sft_loss(logprobs, weights, mask, total=mask.sum())

    assert torch.autograd.gradcheck(loss, given["logits"])


def spoiled(stats: TokenStats, mask: torch.Tensor, value: float) -> TokenStats:
    tables = {
        field.name: getattr(stats, field.name).detach().masked_fill(~mask, value)
        for field in dataclasses.fields(stats)
        if isinstance(getattr(stats, field.name), torch.Tensor)
    }
    return dataclasses.replace(stats, **tables)


@normalized
@every_rule
def test_masked_positions_get_0_and_do_not_influence_the_others(rule, normalize):
    given, rule = everything(), dataclasses.replace(rule, normalize=normalize)
    mask, others = given["mask"], given["others"]
    stats = stats_for(rule, given["logits"].detach(), given["targets"])
    weights = rule(stats, mask, **others)
    assert (weights[~mask] == 0).all()
    for value in (math.nan, math.inf, 1e6):
        again = rule(
            spoiled(stats, mask, value),
            mask,
            expert=spoiled(others["expert"], mask, value),
            reference=others["reference"].masked_fill(~mask, value),
            signal=others["signal"],
        )
        assert torch.equal(again, weights)


@normalized
@every_rule
def test_padding_on_any_side_changes_no_weight(rule, normalize):
    given, rule = everything(), dataclasses.replace(rule, normalize=normalize)
    logits, targets, mask = given["logits"].detach(), given["targets"], given["mask"]
    others = given["others"]
    weights = rule(stats_for(rule, logits, targets), mask, **others)

    def pad(values: torch.Tensor) -> torch.Tensor:
        # Two columns to the left, three to the right, a row below.
        width = [0, 0] * (values.dim() - 2) + [2, 3, 0, 1]
        return torch.nn.functional.pad(values, width)

    expert = others["expert"]
    wide = rule(
        stats_for(rule, pad(logits), pad(targets)),
        pad(mask),
        expert=TokenStats(*(pad(t) for t in (expert.logprobs, expert.entropy, expert.max_prob)), 7),
        reference=pad(others["reference"]),
        signal=torch.nn.functional.pad(others["signal"], [0, 1]),
    )
    torch.testing.assert_close(wide, pad(weights), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@normalized
@every_rule
def test_weights_are_finite_where_p_goes_to_0_and_to_1(rule, normalize, dtype):
    # log p = -800 and 0 of the policy, of the reference the other way round, and p = 1 / 2.
    rule = dataclasses.replace(rule, normalize=normalize)
    logits = torch.tensor([[[-800, 0], [0, -800], [0, 0]]], dtype=dtype)
    targets, mask = torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3, dtype=torch.bool)
    stats = stats_for(rule, logits, targets)
    assert stats.logprobs[0, :2].tolist() == [-800, 0]
    weights = rule(
        stats,
        mask,
        expert=token_stats(-logits, targets),
        reference=token_logprobs(-logits, targets),
        signal=torch.ones(1, dtype=dtype),
    )
    assert weights.dtype == dtype
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert normalize == "mean1" or (weights <= largest(rule, 2)).all()


@pytest.mark.parametrize("vocabulary", [1, 2, 3])
@every_rule
def test_a_vocabulary_smaller_than_k_is_enough(rule, vocabulary):
    given = everything(vocabulary=vocabulary)
    weights = rule(
        stats_for(rule, given["logits"], given["targets"]), given["mask"], **given["others"]
    )
    assert torch.isfinite(weights).all()
    assert ((weights >= 0) & (weights <= largest(rule, vocabulary) + 1e-12)).all()


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


def test_a_rule_that_returns_what_carries_a_gradient_is_detached_all_the_same():
    class Careless(Weighting):
        def raw(self, at):
            return -at.policy.logprobs

    stats = stats_of(0.3)
    stats.logprobs.requires_grad_()
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert not Careless()(stats, mask).requires_grad
    assert not Careless(normalize="mean1")(stats, mask).requires_grad
    assert weight(Careless(), stats) == -stats.logprobs.item()
