"""Weights by more than p: a teacher and the signal, entropies, other tokens, the reference."""

from __future__ import annotations

import math

import pytest
import torch
from vectors import cases, f64, stats_of, weight

from chord.weightings import (
    Adaptive,
    Iw,
    Margin,
    Srft,
    TokenStats,
    TopEntropy,
    TopKEntropy,
    minmax_signal,
    token_stats,
)


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


def row(**tables: list[float]) -> TokenStats:
    """Statistics of one row, out of a vocabulary of four; p = 1 / 2 where nothing else is said."""
    length = len(next(iter(tables.values())))
    stats = {"logprobs": [math.log(0.5)] * length, "entropy": [0.0] * length, **tables}
    made = {name: f64([values]) for name, values in stats.items()}
    return TokenStats(**made, max_prob=torch.ones(1, length, dtype=torch.float64), vocab_size=4)


def everywhere(stats: TokenStats) -> torch.Tensor:
    return torch.ones(stats.logprobs.shape, dtype=torch.bool)


def test_the_highest_entropies_are_chosen_and_of_equal_ones_the_first():
    stats = row(entropy=[0.1, 0.6, 0.3, 0.6, 0.6])
    for rho, expected in {
        0.2: [0, 1, 0, 0, 0],
        # .4 * 5 = 2 and, rounded up, .41 * 5 = 2.05 -> 3.
        0.4: [0, 1, 0, 1, 0],
        0.41: [0, 1, 0, 1, 1],
        0.8: [0, 1, 1, 1, 1],
        1.0: [1, 1, 1, 1, 1],
    }.items():
        assert TopEntropy(rho=rho)(stats, everywhere(stats))[0].tolist() == expected


def test_a_share_of_the_tokens_is_taken_of_those_that_count():
    # 2 of 5 are masked: .4 * 3 = 1.2 -> 2 of the others. Nothing is chosen where nothing counts.
    stats = row(entropy=[0.1, 0.6, 0.3, 0.6, 0.2])
    mask = torch.tensor([[True, False, True, False, True]])
    assert TopEntropy(rho=0.4)(stats, mask)[0].tolist() == [0, 0, 1, 0, 1]
    assert TopEntropy()(stats, mask & False)[0].tolist() == [0, 0, 0, 0, 0]
    # .07 * 100 is 7.000000000000001 as a float, and 7 tokens.
    many = row(entropy=[float(n) for n in range(100)])
    assert TopEntropy(rho=0.07)(many, everywhere(many)).sum() == 7


def test_entropies_that_differ_by_rounding_alone_are_equal():
    # .6 a hair above .6: the earlier token wins all the same.
    stats = row(entropy=[0.1, 0.6, 0.3, 0.6 + 1e-12])
    assert TopEntropy(rho=0.25)(stats, everywhere(stats))[0].tolist() == [0, 1, 0, 0]


def test_top_entropy_with_mean1_weighs_the_chosen_tokens_up():
    # 1 of 4: mean 1/4.
    stats = row(entropy=[0.1, 0.6, 0.3, 0.2])
    weights = TopEntropy(rho=0.25, normalize="mean1")(stats, everywhere(stats))
    assert weights[0].tolist() == [0, 4, 0, 0]


def test_the_top_k_are_renormalised():
    # P = (.5, .25, .125, .125). The top 2 are (2/3, 1/3): H = ln 3 - 2/3 ln 2, over ln 2
    # log2 3 - 2/3 = .9182958. The top 3 are (4, 2, 1) / 7. All four: 1.75 of 2 bits.
    logits, target = f64([[4, 2, 1, 1]]).log(), torch.tensor([1])
    three = math.log(7) - (4 * math.log(4) + 2 * math.log(2)) / 7
    for k, expected in {
        2: math.log2(3) - 2 / 3,
        3: three / math.log(3),
        4: 0.875,
        9: 0.875,
    }.items():
        stats = token_stats(logits, target, top_k=k)
        assert weight(TopKEntropy(k=k), stats) == pytest.approx(expected, abs=1e-14)
        assert weight(TopKEntropy(k=k, a=2), stats) == pytest.approx(expected**2, abs=1e-14)
    assert stats.top_k_entropy.item() == pytest.approx(stats.entropy.item(), abs=1e-14)


def test_the_top_k_of_impossible_tokens_are_sure():
    stats = token_stats(f64([[1.0, -math.inf, -math.inf]]), torch.tensor([0]), top_k=2)
    assert weight(TopKEntropy(k=2), stats) == 0.0


def test_a_ratio_to_the_reference_is_clipped_for_each_token():
    # p / p_ref = .3 / .2, .1 / .1, .02 / .2 = .1 and .8 / .2 = 4.
    stats = row(logprobs=[math.log(p) for p in (0.3, 0.1, 0.02, 0.8)])
    reference = f64([[0.2, 0.1, 0.2, 0.2]]).log()
    weights = Iw()(stats, everywhere(stats), reference=reference)
    assert weights[0].tolist() == pytest.approx([1.5, 1.0, 0.2, 1.8], abs=1e-14)
    wider = Iw(low=0, high=3, scale=2)(stats, everywhere(stats), reference=reference)
    assert wider[0].tolist() == pytest.approx([2.25, 1.0, 0.01, 3.0], abs=1e-14)


def test_a_sequence_has_one_ratio_from_the_mean_of_its_tokens():
    # Ratios 1.5 and 6 (and a masked one): the mean log is ln 3, squared 9. 4 and 4: 16. 8: 64,
    # lowered to 16. A row without tokens has weight 0 like all that is masked.
    p = f64([[0.3, 0.6, 0.5], [0.4, 0.4, 0.1], [0.8, 0.5, 0.5], [0.5, 0.5, 0.5]])
    reference = f64([[0.2, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    zeros = torch.zeros_like(p)
    stats = TokenStats(p.log(), zeros, zeros, 4)
    weights = Iw(level="sequence")(stats, mask, reference=reference.log())
    expected = f64([[9, 9, 0], [16, 16, 0], [16, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)
    # The trainer of the public code leaves the mean as it is: 3.
    plain = Iw(level="sequence", scale=1)(stats, mask, reference=reference.log())
    assert plain[0, 0].item() == pytest.approx(3.0, abs=1e-14)


def test_an_answer_is_weighted_by_its_mean_entropy():
    # H = ln 2 and 0 (and a masked one): the mean is ln 2 / 2. A row of ln 2 alone: e^-H = 1 / 2.
    entropy = f64([[math.log(2), 0.0, 3.0], [math.log(2), 5.0, 5.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    stats = TokenStats(torch.zeros_like(entropy), entropy, torch.ones_like(entropy), 40)
    root = math.sqrt(0.5)
    expected = f64([[root, root, 0], [0.5, 0, 0]])
    torch.testing.assert_close(Srft()(stats, mask), expected, rtol=0, atol=1e-14)
    assert Srft(sign=1)(stats, mask)[0, 0].item() == pytest.approx(math.sqrt(2), abs=1e-14)
