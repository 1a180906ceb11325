"""Token weights: what they read, recorded vectors, normalisation, and settings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rows.weightings import ROWS, RULES
from vectors import cases, f64, stats_of, weight

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
    TopEntropy,
    TopKEntropy,
    TrustRegion,
    Uniform,
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


def test_other_settings_by_hand():
    # p = .1, .5; gamma .5: .05 / .36 and .25 / 1; e^H = 2 where P = (.5, .5).
    stats, mask = stats_of(0.1, 0.5), torch.ones(1, 2, dtype=torch.bool)
    for rule, expected in (
        (Luffy(gamma=0.5), [0.05 / 0.36, 0.25]),
        (Srft(sign=1, level="token"), [1 / 0.7224674056, 2]),
    ):
        assert rule(stats, mask)[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_what_each_weighting_needs():
    def those(says):
        return {name for name, row in ROWS.items() if any(says(rule) for rule, _ in row.tried)}

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
