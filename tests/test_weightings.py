"""Token weights: value tables, recorded vectors, normalisation, and no gradient through w."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from vectors import RULES, WEIGHTINGS, cases, f64, stats_of, weight

from chord.weightings import (
    Adaptive,
    Focal,
    Importance,
    ImportanceClip,
    Iw,
    Luffy,
    Margin,
    Phi,
    Power,
    Srft,
    Threshold,
    TokenStats,
    TopEntropy,
    TopKEntropy,
    TrustRegion,
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


def test_phi_reproduces_the_published_function():
    for case in cases("trinity_phi"):
        stats = stats_of(0.5)
        stats.logprobs = f64([[case["p"]]]).log()
        assert abs(weight(Phi(), stats) - case["phi"]) <= 1e-15


def test_the_shapes_of_the_papers_appendix_are_reproduced():
    rows = [case for case in cases("paper_appendix_variants") if "p" in case]
    assert len(rows) == 11
    for case in rows:
        stats = stats_of(0.5)
        stats.logprobs = f64([[case["p"]]]).log()
        assert abs(weight(Phi(), stats) - case["chord_phi"]) <= 1e-12
        assert abs(weight(Importance(), stats) - case["is_weight"]) <= 1e-12
        assert abs(weight(Focal(), stats) - case["focal_gamma2"]) <= 1e-12
        dropped = case["is_clip_0.4_weight_as_zero_above"]
        assert abs(weight(ImportanceClip(), stats) - dropped) <= 1e-12


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


def test_other_settings_by_hand():
    # p = .1, .5: capped at .4; below .2; sqrt(.9), sqrt(.5); .1^2, .5^2; gamma .5: .05 / .36 and
    # .25 / 1; a = .2: .5 and 1; e^H = 2 where P = (.5, .5).
    stats, mask = stats_of(0.1, 0.5), torch.ones(1, 2, dtype=torch.bool)
    for rule, expected in (
        (ImportanceClip(above="cap"), [0.1, 0.4]),
        (Threshold(side="below"), [1, 0]),
        (Threshold(bound=0.5), [0, 1]),
        (Focal(gamma=0.5), [math.sqrt(0.9), math.sqrt(0.5)]),
        (Power(q=2), [0.01, 0.25]),
        (Luffy(gamma=0.5), [0.05 / 0.36, 0.25]),
        (TrustRegion(a=0.2), [0.5, 1]),
        (Srft(sign=1, level="token"), [1 / 0.7224674056, 2]),
    ):
        assert rule(stats, mask)[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_what_each_weighting_needs():
    def those(says):
        return {name for name, rules in WEIGHTINGS.items() if any(says(rule) for rule in rules)}

    assert those(lambda rule: rule.needs_teacher) == {"margin", "adaptive"}
    assert those(lambda rule: rule.needs_signal) == {"adaptive"}
    assert those(lambda rule: rule.needs_reference) == {"iw"}
    assert those(lambda rule: rule.top_k) == {"top_k_entropy"}
    assert those(lambda rule: rule.uses_step) == {"top_entropy"}
    assert all(replace(rule, normalize="mean1").uses_step for rule in RULES)
    assert not Margin(expert="one_hot").needs_teacher


def test_what_is_said_at_the_start():
    notes = {repr(rule): rule.note for rule in RULES if rule.note is not None}
    assert notes == {
        repr(Adaptive(expert="one_hot")): "weighting.expert=one_hot: no teacher, w = 1 - n / 2",
        repr(Margin(expert="one_hot")): "weighting.expert=one_hot: no teacher, w = 1 - max P",
        repr(Srft(sign=1)): "weighting.sign=1: w = exp(H), above 1 wherever H > 0",
    }


def test_a_missing_input_is_an_error():
    stats, mask = stats_of(0.5), torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"^weighting\.expert=teacher: needs a teacher's"):
        Margin()(stats, mask)
    with pytest.raises(ValueError, match=r"^weighting=adaptive: needs a signal"):
        Adaptive()(stats, mask, expert=stats)
    with pytest.raises(ValueError, match=r"^weighting=iw: needs log p .* reference model"):
        Iw()(stats, mask)
    with pytest.raises(ValueError, match=r"^weighting=top_k_entropy: needs .*top_k=20"):
        TopKEntropy()(stats, mask)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Phi(normalize="sum"), "normalize=sum: must be one of none, mean1"),
        (lambda: Uniform(apply_to="rl"), "apply_to=rl: must be one of sft, both"),
        (lambda: Margin(expert="none"), "expert=none: must be one of teacher, one_hot"),
        (
            lambda: ImportanceClip(bound=0),
            "bound=0: must be a number above 0 and at most 1",
        ),
        (lambda: ImportanceClip(above="clip"), "above=clip: must be one of drop, cap"),
        (lambda: Focal(gamma=-1), "gamma=-1: must be a number at least 0"),
        (lambda: Focal(gamma=math.nan), "gamma=nan: must be a number at least 0"),
        (lambda: Power(q=math.inf), "q=inf: must be a number at least 0"),
        (lambda: Threshold(bound=1.5), "bound=1.5: must be a number at least 0 and at most 1"),
        (lambda: Threshold(side="left"), "side=left: must be one of above, below"),
        (lambda: Luffy(gamma=0), "gamma=0: must be a number above 0"),
        (lambda: TrustRegion(a=2), "a=2: must be a number above 0 and at most 1"),
        (lambda: TopEntropy(rho=0), "rho=0: must be a number above 0 and at most 1"),
        (lambda: TopKEntropy(k=1), "k=1: must be a number at least 2"),
        (lambda: TopKEntropy(a=-1), "a=-1: must be a number at least 0"),
        (lambda: Srft(sign=0), "sign=0: must be one of -1, 1"),
        (lambda: Srft(level="row"), "level=row: must be one of token, sequence"),
        (lambda: Iw(level="row"), "level=row: must be one of token, sequence"),
        (lambda: Iw(low=2), "high=1.8: must be a number at least 2"),
        (lambda: Iw(low=-1), "low=-1: must be a number at least 0"),
        (lambda: Iw(scale=0), "scale=0: must be a number above 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(build, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == f"weighting.{message}"
