"""Intervals, paired differences and Holm's correction against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chord.compare import statistics
from chord.compare.statistics import (
    bootstrap_interval,
    differences,
    holm,
    mean_interval,
    paired_difference,
)
from chord.evaluation.statistics import t_interval


def test_t_interval_of_three_values() -> None:
    # s² = (1 + 0 + 1) / 2 = 1, s / √3 = .5773503. With 2 degrees of freedom the distribution is
    # F(t) = 1/2 + t / (2 √(t² + 2)): F = .975 gives t² / (t² + 2) = .9025, t = √(1.805 / .0975)
    # = 4.3026527. Half: 2.4841377.
    estimate = t_interval([1.0, 2.0, 3.0])
    half = math.sqrt(1.805 / 0.0975) / math.sqrt(3)
    assert estimate.mean == 2.0
    assert estimate.low == pytest.approx(2 - half, abs=1e-9)
    assert estimate.high == pytest.approx(2 + half, abs=1e-9)
    assert estimate.n == 3


def test_t_interval_of_two_values() -> None:
    # With 1 degree of freedom (Cauchy) t = tan(.475 π) = 12.7062047; s = √2 / 2 · |x - y| with
    # |x - y| = 2 is √2, s / √2 = 1: half = t.
    estimate = t_interval([4.0, 6.0])
    assert estimate.high - estimate.mean == pytest.approx(math.tan(0.475 * math.pi), abs=1e-9)


def test_one_value_is_its_own_interval() -> None:
    estimate = mean_interval([0.7])
    assert (estimate.mean, estimate.low, estimate.high, estimate.n) == (0.7, 0.7, 0.7, 1)


def test_no_value_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        t_interval([])


def test_nine_values_have_a_t_interval_and_ten_a_bootstrap() -> None:
    nine, ten = [0.0] * 8 + [1.0], [0.0] * 9 + [1.0]
    assert mean_interval(nine) == t_interval(nine)
    assert mean_interval(ten) == bootstrap_interval(ten) != t_interval(ten)


def test_bootstrap_is_the_same_each_time() -> None:
    values = [0.1 * k * k for k in range(12)]
    first = bootstrap_interval(values)
    statistics._draws.cache_clear()  # as in another process
    assert bootstrap_interval(values) == first


def test_bootstrap_of_equal_values_is_their_value() -> None:
    estimate = bootstrap_interval([0.3] * 10)
    assert estimate.low == estimate.high == pytest.approx(0.3, abs=1e-12)


def test_bootstrap_of_a_coin_is_the_binomial_quantiles() -> None:
    # Eight 0 and eight 1: a resample's sum is Binomial(16, 1/2). d³ sums to 0, so a = 0; the
    # distribution is symmetric, so z₀ is 0 up to the draws, and the bounds are its 2.5 and 97.5
    # percentiles. P(sum <= 3) = 697 / 65536 = .0106, P(sum <= 4) = 2517 / 65536 = .0384: 4 / 16
    # and, by symmetry, 12 / 16.
    estimate = bootstrap_interval([0.0, 1.0] * 8)
    assert (estimate.low, estimate.mean, estimate.high) == (0.25, 0.5, 0.75)


def test_bootstrap_corrects_for_skew() -> None:
    # Nine 0 and one 1: a resample's mean is Binomial(10, .1) / 10. d = -.1 nine times, .9 once:
    # Σ d² = .9, Σ d³ = .72, a = .72 / (6 · .9^1.5) = .1405457.
    # P(0) = .9^10 = .3486784, P(1) = .9^9 = .3874205: z₀ = Φ⁻¹(.3486784 + .1937102) = Φ⁻¹(.5423886)
    # = .1064. Upper: z₀ + z = 2.0664, / (1 - .1405457 · 2.0664) = 2.9121, + z₀ = 3.0185: share
    # .99873. P(sum <= 4) = .998365, P(sum <= 5) = .999853: the bound is 5 / 10, where plain
    # percentiles have P(sum <= 3) = .98720 > .975: 3 / 10.
    # Lower: z₀ - z = -1.8536, / (1 + .2605) = -1.4705, + z₀ = -1.3641: share .0863 < P(0): 0.
    estimate = bootstrap_interval([0.0] * 9 + [1.0])
    assert estimate.mean == pytest.approx(0.1, abs=1e-12)
    assert estimate.low == 0.0
    assert estimate.high == pytest.approx(0.5, abs=1e-12)


def test_bootstrap_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    # Skewed, so that the acceleration counts.
    values = np.array([0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.22, 0.35, 0.6, 1.5])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=50_000, method="BCa", rng=1)
    ours = bootstrap_interval(values.tolist())
    # Two sets of draws: the bounds' own standard errors are about .001 and .006.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.003)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.015)


def test_paired_difference_takes_common_seeds_only() -> None:
    # Seeds 0, 1, 2 are common: differences 1, 2, 3. t = 2 / (1 / √3) = 2 √3, t² = 12; with 2
    # degrees of freedom p = 1 - t / √(t² + 2) = 1 - √(12 / 14) = .0741799.
    found = paired_difference(
        {0: 11.0, 1: 22.0, 2: 33.0, 5: 1e9}, {2: 30.0, 1: 20.0, 0: 10.0, 7: -1e9}
    )
    assert found is not None
    estimate, p = found
    assert (estimate.mean, estimate.n) == (2.0, 3)
    assert p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    assert estimate.low < 0 < estimate.high, "p > .05: the interval holds 0"


def test_pairing_removes_what_a_seed_adds_to_both() -> None:
    # The seeds differ by 100, the methods by 1 ± .1: unpaired, nothing could be seen.
    found = paired_difference({0: 1.1, 1: 101.0, 2: 200.9}, {0: 0.0, 1: 100.0, 2: 200.0})
    assert found is not None
    # Differences 1.1, 1, .9: s = .1, t = 1 / (.1 / √3) = 10 √3, t² = 300.
    assert found[1] == pytest.approx(1 - math.sqrt(300 / 302), abs=1e-9)


def test_one_common_seed_has_a_difference_without_a_test() -> None:
    found = paired_difference({3: 0.9}, {3: 0.5, 4: 0.0})
    assert found is not None
    assert found[0].mean == found[0].low == found[0].high == pytest.approx(0.4)
    assert math.isnan(found[1])


def test_no_common_seed_has_no_difference() -> None:
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_equal_differences_are_no_division_by_zero() -> None:
    same = paired_difference({0: 0.3, 1: 0.7}, {0: 0.3, 1: 0.7})
    shifted = paired_difference({0: 0.4, 1: 0.8}, {0: 0.3, 1: 0.7})
    assert same is not None
    assert shifted is not None
    assert same[1] == 1.0
    assert math.isnan(shifted[1]), "nothing is known of the spread"


def test_holm_multiplies_by_the_number_of_tests_left() -> None:
    # Sorted: .01 · 3 = .03; .03 · 2 = .06; .04 · 1 = .04, raised to .06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06], abs=1e-12)


def test_holm_never_exceeds_one_and_skips_what_was_not_tested() -> None:
    # Two tests: .6 · 2 > 1, so 1, and the larger one is raised to it.
    corrected = holm([math.nan, 0.6, 0.9])
    assert math.isnan(corrected[0])
    assert corrected[1:] == [1.0, 1.0]


def test_differences_are_corrected_over_all_groups() -> None:
    # b: 1, 2, 3 (p = .0741799); c: -1.1, -1, -.9 (p = 1 - √(300 / 302) = .0033168), so Holm
    # gives c twice its p and b its own.
    base = {0: 0.0, 1: 0.0, 2: 0.0}
    found = differences(
        {"a": base, "b": {0: 1.0, 1: 2.0, 2: 3.0}, "c": {0: -1.1, 1: -1.0, 2: -0.9}, "d": {9: 0.0}},
        "a",
    )
    assert set(found) == {"b", "c"}
    assert found["b"].p_holm == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-9)
    assert found["c"].p_holm == pytest.approx(2 * (1 - math.sqrt(300 / 302)), abs=1e-9)
    assert found["c"].estimate.mean == pytest.approx(-1.0, abs=1e-12)
