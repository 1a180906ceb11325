"""Means over seeds with 95 % intervals, and paired differences: pure functions.

Each run is one draw, and the seeds are the sample. All seeds of a sweep share the base model, so no
interval covers the variation between base models.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from chord.compare.model import Difference
from chord.evaluation.statistics import LEVEL, Estimate, _sample, _standard_error, t_interval

BOOTSTRAP_FROM = 10  # with fewer values, bootstrap intervals are too narrow
RESAMPLES = 9999


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean with its interval: Student's t below 10 values, else BCa bootstrap.

    The interval of a single value is that value. Raises ValueError if there are no values.
    """
    if len(values) >= BOOTSTRAP_FROM:
        return bootstrap_interval(values)
    return t_interval(values)


def bootstrap_interval(values: Sequence[float]) -> Estimate:
    """Return the mean with its BCa interval (Efron, 1987, JASA 82, equations 4.1, 4.4, 6.6).

    The bounds are the quantiles at Φ(z₀ + (z₀ + z) / (1 - a (z₀ + z))), with z = ∓1.96, of
    B = 9999 means θ* of n values drawn with replacement. The bias correction is z₀ = Φ⁻¹(share of
    θ* below the mean; ties count half). The acceleration is a = Σ d³ / (6 (Σ d²)^1.5) with
    d = x - mean, because the jackknife deviations of a mean are d / (n - 1). Symmetric values have
    z₀ ≈ 0 and a = 0, which gives the plain percentile interval. The interval of equal values is
    that value. The draws are seeded, so the same values give the same interval. Raises ValueError
    if there are no values.
    """
    sample = _sample(values)
    mean = float(sample.mean())
    deviations = sample - mean
    squares = float((deviations**2).sum())
    if np.ptp(sample) == 0:
        return Estimate(mean=mean, low=mean, high=mean, n=len(sample))
    means = sample[_draws(len(sample))].mean(axis=1)
    # Sums of the same values in another order differ in the last bits; count them as ties.
    slack = 1e-12 * max(abs(mean), float(np.abs(sample).max()))
    below = float((means < mean - slack).mean())
    ties = float((np.abs(means - mean) <= slack).mean())
    bias = float(ndtri(below + ties / 2))
    acceleration = float((deviations**3).sum()) / (6 * squares**1.5)
    tail = float(ndtri((1 + LEVEL) / 2))
    shares = [
        float(ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in (-tail, tail)
    ]
    low, high = (float(bound) for bound in np.quantile(means, shares))
    return Estimate(mean=mean, low=low, high=high, n=len(sample))


def paired_difference(
    ours: Mapping[int, float], baseline: Mapping[int, float]
) -> tuple[Estimate, float] | None:
    """Return ours minus baseline over their common seeds: t interval and two-sided p.

    Runs with the same seed see the same problems and random numbers, so the effect of the seed
    cancels in d = ours - baseline. t = mean(d) / (s_d / √n) with n - 1 degrees of freedom;
    p = 2 P(T > |t|), and the interval excludes 0 exactly if p < .05. Differences 1, 2, 3:
    t = 2 / (1 / √3) = 3.464102, p = 1 - t / √(t² + 2) = .074180.

    Returns None without a common seed. With one common seed there is a difference but neither an
    interval nor a p (NaN). Equal differences have s = 0: p is 1 if all are 0, else NaN, because
    scores are shares of some hundred problems, and equal differences can be a coincidence.
    """
    seeds = sorted(ours.keys() & baseline.keys())
    if not seeds:
        return None
    values = [ours[seed] - baseline[seed] for seed in seeds]
    estimate = t_interval(values)
    if len(values) == 1:
        return estimate, math.nan
    error = _standard_error(_sample(values))
    # Equal differences may differ in the last bits.
    if error <= 1e-12 * max(1.0, abs(estimate.mean)):
        return estimate, 1.0 if abs(estimate.mean) <= 1e-12 else math.nan
    p = 2 * float(stdtr(len(values) - 1, -abs(estimate.mean) / error))
    return estimate, p


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's step-down correction (Holm, 1979), which bounds the family-wise error rate.

    With p(1) <= ... <= p(m), the i-th becomes max over j <= i of min(1, (m - j + 1) p(j)). Holm's
    test at level α rejects where the corrected p is below α. NaN (no test) stays NaN and is not
    counted in m. p = .01, .04, .03 become .03, .06, .06: 3 × .01; max(.06, 1 × .04); 2 × .03.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[place] = largest
    return corrected


def differences(groups: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Difference]:
    """Return each group's paired difference to `baseline`, with Holm's correction over all groups.

    `groups` maps labels to the values of one metric by seed. The baseline, and groups that share no
    seed with it, are not in the result.
    """
    reference = groups.get(baseline, {})
    found = {
        label: paired
        for label, values in groups.items()
        if label != baseline and (paired := paired_difference(values, reference)) is not None
    }
    corrected = holm([p for _, p in found.values()])
    return {
        label: Difference(estimate=estimate, p=p, p_holm=p_holm)
        for (label, (estimate, p)), p_holm in zip(found.items(), corrected, strict=True)
    }


@functools.cache
def _draws(n: int) -> NDArray[Any]:
    """Indices of the values in each resample; for a given n the same in every process."""
    return np.random.default_rng(0).integers(0, n, size=(RESAMPLES, n))
