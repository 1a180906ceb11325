"""Token weights: value tables, recorded vectors, normalisation, and no gradient through w."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import WEIGHTINGS, cases, f64, stats_of, weight

from chord.weightings import (
    Adaptive,
    Entropy,
    Importance,
    Margin,
    Phi,
    Uniform,
    minmax_signal,
    token_logprobs,
    token_stats,
    weight_mean,
)


def test_statistics_of_a_distribution_over_three_tokens():
    # P = (1/2, 1/4, 1/4): log p of the second is -2 ln 2, H = (1/2 + 2/4 + 2/4) ln 2.
    logits = f64([[4, 2, 2]]).log() + 5.0
    stats = token_stats(logits, torch.tensor([1]))
    assert stats.logprobs.item() == pytest.approx(-2 * math.log(2), abs=1e-14)
    assert stats.entropy.item() == pytest.approx(1.5 * math.log(2), abs=1e-14)
    assert stats.max_prob.item() == pytest.approx(0.5, abs=1e-14)
    assert stats.vocab_size == 3


def test_statistics_of_impossible_tokens_are_finite():
    # A vocabulary mask: two of three tokens at -inf leave the distribution (1, 0, 0).
    stats = token_stats(f64([[1.0, -math.inf, -math.inf]]), torch.tensor([0]))
    assert (stats.logprobs.item(), stats.entropy.item(), stats.max_prob.item()) == (0.0, 0.0, 1.0)


def test_only_the_logprobs_carry_a_gradient():
    stats = token_stats(torch.randn(2, 3, 4, requires_grad=True), torch.zeros(2, 3).long())
    assert stats.logprobs.requires_grad
    assert not stats.entropy.requires_grad
    assert not stats.max_prob.requires_grad


def test_temperature_divides_the_logits():
    # Logits (0, 2) at temperature 2 are (0, 1): log p of the second 1 - ln(1 + e).
    logits, target = f64([[0, 2]]), torch.tensor([1])
    expected = 1 - math.log(1 + math.e)
    assert token_logprobs(logits, target, temperature=2.0).item() == pytest.approx(
        expected, abs=1e-15
    )
    assert token_stats(logits, target, temperature=2.0).logprobs.item() == pytest.approx(
        expected, abs=1e-15
    )


# Rows: p and then phi = p (1 - p), importance = p. With two tokens and P = (p, 1 - p)
# max P = max(p, 1 - p), so the margin to a one-hot expert is min(p, 1 - p).
TABLE = [
    (0.001, 0.000999, 0.001, 0.001),
    (0.01, 0.0099, 0.01, 0.01),
    (0.1, 0.09, 0.1, 0.1),
    (0.5, 0.25, 0.5, 0.5),
    (0.9, 0.09, 0.9, 0.1),
    (0.99, 0.0099, 0.99, 0.01),
]


@pytest.mark.parametrize(("p", "phi", "importance", "margin"), TABLE)
def test_value_table(p, phi, importance, margin):
    stats = stats_of(p)
    assert weight(Uniform(), stats) == 1.0
    assert weight(Phi(), stats) == pytest.approx(phi, abs=1e-15)
    assert weight(Importance(), stats) == pytest.approx(importance, abs=1e-15)
    assert weight(Margin(expert="one_hot"), stats) == pytest.approx(margin, abs=1e-15)
    # H / ln 2 = -p log2 p - (1 - p) log2 (1 - p)
    bits = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    assert weight(Entropy(), stats) == pytest.approx(bits, abs=1e-14)


def test_phi_reproduces_the_published_function():
    for case in cases("trinity_phi"):
        stats = stats_of(0.5)
        stats.logprobs = f64([[case["p"]]]).log()
        assert abs(weight(Phi(), stats) - case["phi"]) <= 1e-15


def test_phi_and_importance_reproduce_the_papers_appendix():
    rows = [case for case in cases("paper_appendix_variants") if "p" in case]
    assert rows
    for case in rows:
        stats = stats_of(0.5)
        stats.logprobs = f64([[case["p"]]]).log()
        assert abs(weight(Phi(), stats) - case["chord_phi"]) <= 1e-12
        assert abs(weight(Importance(), stats) - case["is_weight"]) <= 1e-12


@pytest.mark.parametrize("case", cases("original_token_weights"))
def test_adaptive_and_margin_reproduce_the_original_description(case):
    model, expert, rewards = (
        f64(case["inputs"][name]) for name in ("model_logits", "expert_logits", "rl_rewards")
    )
    targets = expert.argmax(dim=-1)
    weighting = {"adaptive": Adaptive(), "margin": Margin()}[case["strategy"]]
    weights = weighting(
        token_stats(model.requires_grad_(), targets),
        torch.ones_like(targets, dtype=torch.bool),
        expert=token_stats(expert, targets),
        signal=minmax_signal(rewards),
    )
    torch.testing.assert_close(weights, f64(case["weights"]), rtol=0, atol=1e-7)
    # The original's margin and entropy weights are part of the graph; ours never are.
    assert not weights.requires_grad


def test_adaptive_and_margin_by_hand():
    # Q = (.75, .25): H = .75 ln(4/3) + .25 ln 4 = .5623351, over ln 2 .8112781, 1 - that .1887219.
    # n = 1 halves it. Margin: .75 - .6 = .15, and 0 where the policy is surer (.75 < .9).
    expert, policy = stats_of(0.75, 0.75), stats_of(0.6, 0.9)
    mask = torch.ones(1, 2, dtype=torch.bool)
    full = Adaptive()(policy, mask, expert=expert, signal=f64([0]))
    half = Adaptive()(policy, mask, expert=expert, signal=f64([1]))
    assert full[0].tolist() == pytest.approx([0.18872187554086717] * 2, abs=1e-14)
    assert half[0].tolist() == pytest.approx([0.09436093777043358] * 2, abs=1e-14)
    margin = Margin()(policy, mask, expert=expert)
    assert margin[0].tolist() == pytest.approx([0.15, 0.0], abs=1e-14)


def test_adaptive_with_a_one_hot_expert_reads_only_the_signal():
    # H(Q) = 0: w = 1 - n / 2, the same for all tokens of a row.
    policy = stats_of(0.2, 0.7)
    policy.logprobs = policy.logprobs.expand(3, 2)
    mask = torch.ones(3, 2, dtype=torch.bool)
    weights = Adaptive(expert="one_hot")(policy, mask, signal=f64([0, 0.5, 1]))
    assert weights.tolist() == [[1.0, 1.0], [0.75, 0.75], [0.5, 0.5]]


def test_the_signal_is_min_max_normalised_over_magnitudes():
    # |s| = 1, .5, 0.
    assert minmax_signal(f64([-1, 0.5, 0])).tolist() == [1.0, 0.5, 0.0]
    # |s| = 3, 2 within the step's 1 and 5: (3 - 1) / 4 and (2 - 1) / 4.
    assert minmax_signal(f64([-3, 2]), low=1, high=f64(5)).tolist() == [0.5, 0.25]
    assert minmax_signal(f64([1 / 3] * 8)).tolist() == [0.0] * 8
    assert minmax_signal(torch.tensor([1, -3])).tolist() == [0.0, 1.0]
    assert minmax_signal(f64([])).tolist() == []


def test_weights_are_zero_outside_the_mask_even_where_nothing_is_finite():
    stats = stats_of(0.5, 0.5)
    stats.logprobs[0, 1] = stats.entropy[0, 1] = stats.max_prob[0, 1] = math.nan
    mask = torch.tensor([[True, False]])
    for weighting in WEIGHTINGS.values():
        weights = weighting(stats, mask, expert=stats, signal=f64([0]))
        assert weights[0, 1] == 0.0
        assert torch.isfinite(weights).all()


def test_mean1_divides_by_the_mean_over_the_unmasked_tokens():
    # phi of .5, .9 and (masked) .5: .25, .09; mean .17.
    mask = torch.tensor([[True, True, False]])
    weights = Phi(normalize="mean1")(stats_of(0.5, 0.9, 0.5), mask)
    assert weights[0].tolist() == pytest.approx([0.25 / 0.17, 0.09 / 0.17, 0.0], abs=1e-14)
    assert weight_mean(weights, mask).item() == pytest.approx(1.0, abs=1e-15)


def test_mean1_leaves_weights_that_are_all_zero_at_zero():
    mask = torch.ones(1, 2, dtype=torch.bool)
    certain = token_stats(f64([[[0, -math.inf], [0, -math.inf]]]), torch.zeros(1, 2).long())
    assert Phi(normalize="mean1")(certain, mask).tolist() == [[0.0, 0.0]]
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert Phi(normalize="mean1")(stats_of(0.5, 0.5), nothing).tolist() == [[0.0, 0.0]]


def test_what_each_weighting_needs():
    needs = {name for name, weighting in WEIGHTINGS.items() if weighting.needs_teacher}
    assert needs == {"margin", "adaptive"}
    signals = {name for name, weighting in WEIGHTINGS.items() if weighting.needs_signal}
    assert signals == {"adaptive", "adaptive one_hot"}


def test_a_missing_teacher_or_signal_is_an_error():
    mask = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^weighting\.expert=teacher: needs a teacher's"):
        Margin()(stats_of(0.5), mask)
    with pytest.raises(ValueError, match=r"^weighting=adaptive: needs a signal"):
        Adaptive()(stats_of(0.5), mask, expert=stats_of(0.5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Phi(normalize="sum"), "weighting.normalize=sum: must be one of none, mean1"),
        (lambda: Uniform(apply_to="rl"), "weighting.apply_to=rl: must be one of sft, both"),
        (
            lambda: Margin(expert="none"),
            "weighting.expert=none: must be one of teacher, one_hot",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(build, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == message
