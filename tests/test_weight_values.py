"""The weights of every rule at six p, by hand; a registered rule without values fails the suite."""

from __future__ import annotations

import pytest
import torch
from vectors import WEIGHTINGS, f64, stats_of

from chord.config.registry import SCHEMAS
from chord.weightings import Adaptive, Iw, Margin, Srft, TopEntropy, Weighting


def test_every_rule_of_the_registry_has_its_inputs_and_its_values() -> None:
    registered = SCHEMAS["weighting"]
    for where, known in (("WEIGHTINGS in tests/vectors.py", WEIGHTINGS), ("VALUES", VALUES)):
        assert known.keys() == registered.keys(), f"add the rule to {where}"
    for name, schema in registered.items():
        assert {type(rule) for rule in WEIGHTINGS[name]} == {schema}
        assert type(VALUES[name][0]) is schema


PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
# The weights of six tokens with these p, out of a vocabulary of two: P = (p, 1 - p).
VALUES: dict[str, tuple[Weighting, list[float]]] = {
    "uniform": (WEIGHTINGS["uniform"][0], [1, 1, 1, 1, 1, 1]),
    # p (1 - p): .001 * .999, .01 * .99, .1 * .9, .5 * .5, and the mirror images.
    "phi": (WEIGHTINGS["phi"][0], [0.000999, 0.0099, 0.09, 0.25, 0.09, 0.0099]),
    "importance": (WEIGHTINGS["importance"][0], [0.001, 0.01, 0.1, 0.5, 0.9, 0.99]),
    # p, and 0 above .4.
    "importance_clip": (WEIGHTINGS["importance_clip"][0], [0.001, 0.01, 0.1, 0, 0, 0]),
    # .999^2, .99^2, .9^2, .5^2, .1^2, .01^2.
    "focal": (WEIGHTINGS["focal"][0], [0.998001, 0.9801, 0.81, 0.25, 0.01, 0.0001]),
    # Square roots: of .001 = 10 / 10,000 and so on; sqrt(10) = 3.16227766.
    "power": (
        WEIGHTINGS["power"][0],
        [0.0316227766, 0.1, 0.3162277660, 0.7071067812, 0.9486832981, 0.9949874371],
    ),
    # 1 from .2 on.
    "threshold": (WEIGHTINGS["threshold"][0], [0, 0, 0, 1, 1, 1]),
    # .1 p / (p + .1)^2: .0001 / .101^2 = 1 / 102.01, .001 / .11^2 = 10 / 121, .01 / .2^2 = 1/4,
    # .05 / .6^2 = 5 / 36, .09 / 1 = .09, .099 / 1.09^2 = 990 / 11,881.
    "luffy": (
        WEIGHTINGS["luffy"][0],
        [1 / 102.01, 10 / 121, 0.25, 5 / 36, 0.09, 990 / 11881],
    ),
    # 10 p, at most 1.
    "trust_region": (WEIGHTINGS["trust_region"][0], [0.01, 0.1, 1, 1, 1, 1]),
    # Numerators 2 p sqrt(1 - p): .002 sqrt(.999), .02 sqrt(.99), .2 sqrt(.9), sqrt(.5),
    # 1.8 sqrt(.1), 1.98 * .1; denominators 1.5 p + .5: .5015, .515, .65, 1.25, 1.85, 1.985.
    "rlplus": (
        WEIGHTINGS["rlplus"][0],
        [0.0039860414, 0.0386402888, 0.2919025532, 0.5656854249, 0.3076810696, 0.198 / 1.985],
    ),
    # Entropy in bits, -p log2 p - (1 - p) log2 (1 - p): for .1 it is .1 * 3.3219281 + .9 *
    # .1520031 = .4689956; for .01 .01 * 6.6438562 + .99 * .0144996 = .0807931; for .001 .001 *
    # 9.9657843 + .999 * .0014434 = .0114078.
    "entropy": (
        WEIGHTINGS["entropy"][0],
        [0.0114077577, 0.0807931359, 0.4689955936, 1, 0.4689955936, 0.0807931359],
    ),
    # The vocabulary of two is smaller than K = 20: the same entropy, in bits.
    "top_k_entropy": (
        WEIGHTINGS["top_k_entropy"][0],
        [0.0114077577, 0.0807931359, 0.4689955936, 1, 0.4689955936, 0.0807931359],
    ),
    # e^-H = 2^-bits = p^p (1 - p)^(1 - p): .5 at .5, .1^.1 * .9^.9 = .7943282 * .9095326 at .1.
    "srft": (
        Srft(level="token"),
        [0.9921239250, 0.9455376851, 0.7224674056, 0.5, 0.7224674056, 0.9455376851],
    ),
    # Half of the six: the entropies above order them as .5, then .1 and .9, then the others.
    "top_entropy": (TopEntropy(rho=0.5), [0, 0, 1, 1, 1, 0]),
    # Q one-hot: 1 - max(p, 1 - p).
    "margin": (Margin(expert="one_hot"), [0.001, 0.01, 0.1, 0.5, 0.1, 0.01]),
    # Q one-hot, n = .5: 1 - n / 2.
    "adaptive": (Adaptive(expert="one_hot"), [0.75] * 6),
    # p_ref = .2: 5 p within [.2, 1.8], so .005 and .05 are raised and 2.5, 4.5 and 4.95 lowered.
    "iw": (Iw(), [0.2, 0.2, 0.5, 1.8, 1.8, 1.8]),
}


@pytest.mark.parametrize("name", SCHEMAS["weighting"])
def test_the_table_of_values(name):
    rule, expected = VALUES[name]
    mask = torch.ones(1, 6, dtype=torch.bool)
    given = {"reference": f64([[0.2] * 6]).log(), "signal": f64([0.5])}
    weights = rule(stats_of(*PROBABILITIES, top_k=rule.top_k), mask, **given)
    assert weights[0].tolist() == pytest.approx(expected, rel=0, abs=1e-10)
