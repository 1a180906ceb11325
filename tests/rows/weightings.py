"""The weightings: w of six tokens, derived by hand, and the formula for one token."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from chord.weightings import (
    Adaptive,
    Entropy,
    Focal,
    Importance,
    ImportanceClip,
    Iw,
    Luffy,
    Margin,
    Phi,
    Power,
    RlPlus,
    Srft,
    Threshold,
    TopEntropy,
    TopKEntropy,
    TrustRegion,
    Uniform,
    Weighting,
)

if TYPE_CHECKING:
    from pairs.reference.look import Token  # which reads these rows

PROBABILITIES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99)
Settings = dict[str, Any]


class Row(NamedTuple):
    """What the tests know of a weighting.

    `tried`: the rule as it comes, then with other settings of every kind. With each its weights, to
    ten digits, of six tokens with these p out of a vocabulary of two, P = (p, 1 - p); None where
    another one's say it. The reference gives each token p = .2, the signal is .5.
    `plain`: w by the settings and the token; None where the rule reads more than its own token,
    then `tests/pairs/reference/weights.py` has it.
    """

    tried: list[tuple[Weighting, list[float] | None]]
    plain: Callable[[Settings, Token], float] | None = None


def bounded(s: Settings, token: Token) -> float:
    above = {"drop": 0.0, "cap": s["bound"]}[s["above"]]
    return float(token.p if token.p <= s["bound"] else above)


def top_k(s: Settings, token: Token) -> float:
    largest = sorted(token.distribution, reverse=True)[: s["k"]]
    shares = [each / sum(largest) for each in largest]
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    return float((entropy / math.log(len(largest))) ** s["a"])


ROWS: dict[str, Row] = {
    "uniform": Row([(Uniform(), [1, 1, 1, 1, 1, 1])], lambda s, t: 1.0),
    # p (1 - p): .001 * .999, .01 * .99, .1 * .9, .5 * .5, and the mirror images.
    "phi": Row(
        [(Phi(), [0.000999, 0.0099, 0.09, 0.25, 0.09, 0.0099])], lambda s, t: t.p * (1 - t.p)
    ),
    "importance": Row([(Importance(), [0.001, 0.01, 0.1, 0.5, 0.9, 0.99])], lambda s, t: t.p),
    # p, and above .4 nothing, or .4.
    "importance_clip": Row(
        [
            (ImportanceClip(), [0.001, 0.01, 0.1, 0, 0, 0]),
            (ImportanceClip(above="cap"), [0.001, 0.01, 0.1, 0.4, 0.4, 0.4]),
        ],
        bounded,
    ),
    # .999^2, .99^2, .9^2, .5^2, .1^2, .01^2; gamma .5: the roots of .999 to .01.
    "focal": Row(
        [
            (Focal(), [0.998001, 0.9801, 0.81, 0.25, 0.01, 0.0001]),
            (Focal(gamma=0.5), [math.sqrt(1 - p) for p in PROBABILITIES]),
        ],
        lambda s, t: float((1 - t.p) ** s["gamma"]),
    ),
    # Square roots: of .001 = 10 / 10,000 and so on; sqrt(10) = 3.16227766.
    "power": Row(
        [
            (Power(), [0.0316227766, 0.1, 0.3162277660, 0.7071067812, 0.9486832981, 0.9949874371]),
            (Power(q=0), [1] * 6),
            (Power(q=2), [1e-6, 1e-4, 0.01, 0.25, 0.81, 0.9801]),
            (Power(q=10), None),
        ],
        lambda s, t: float(t.p ** s["q"]),
    ),
    # 1 from .2 on, or up to .2.
    "threshold": Row(
        [
            (Threshold(), [0, 0, 0, 1, 1, 1]),
            (Threshold(bound=0.1), [0, 0, 1, 1, 1, 1]),
            (Threshold(side="below"), [1, 1, 1, 0, 0, 0]),
        ],
        lambda s, t: float(t.p >= s["bound"] if s["side"] == "above" else t.p <= s["bound"]),
    ),
    # .1 p / (p + .1)^2: .0001 / .101^2 = 1 / 102.01, .001 / .11^2 = 10 / 121, .01 / .2^2 = 1/4,
    # .05 / .6^2 = 5 / 36, .09 / 1 = .09, .099 / 1.09^2 = 990 / 11,881.
    "luffy": Row(
        [(Luffy(), [1 / 102.01, 10 / 121, 0.25, 5 / 36, 0.09, 990 / 11881])],
        lambda s, t: float(s["gamma"] * t.p / (t.p + s["gamma"]) ** 2),
    ),
    # 10 p, at most 1; 5 p.
    "trust_region": Row(
        [
            (TrustRegion(), [0.01, 0.1, 1, 1, 1, 1]),
            (TrustRegion(a=0.2), [0.005, 0.05, 0.5, 1, 1, 1]),
        ],
        lambda s, t: float(min(1.0, t.p / s["a"])),
    ),
    # Numerators 2 p sqrt(1 - p): .002 sqrt(.999), .02 sqrt(.99), .2 sqrt(.9), sqrt(.5),
    # 1.8 sqrt(.1), 1.98 * .1; denominators 1.5 p + .5: .5015, .515, .65, 1.25, 1.85, 1.985.
    "rlplus": Row(
        [
            (
                RlPlus(),
                [
                    0.0039860414,
                    0.0386402888,
                    0.2919025532,
                    0.5656854249,
                    0.3076810696,
                    0.198 / 1.985,
                ],
            )
        ],
        lambda s, t: 2 * t.p * math.sqrt(1 - t.p) / (1.5 * t.p + 0.5),
    ),
    # Entropy in bits, -p log2 p - (1 - p) log2 (1 - p): for .1 it is .1 * 3.3219281 + .9 *
    # .1520031 = .4689956; for .01 .01 * 6.6438562 + .99 * .0144996 = .0807931; for .001 .001 *
    # 9.9657843 + .999 * .0014434 = .0114078.
    "entropy": Row(
        [(Entropy(), [0.0114077577, 0.0807931359, 0.4689955936, 1, 0.4689955936, 0.0807931359])],
        lambda s, t: t.entropy / math.log(len(t.distribution)),
    ),
    # The vocabulary of two is smaller than K = 20: the same entropy, in bits.
    "top_k_entropy": Row(
        [
            (
                TopKEntropy(),
                [0.0114077577, 0.0807931359, 0.4689955936, 1, 0.4689955936, 0.0807931359],
            ),
            (TopKEntropy(k=2), None),
            (TopKEntropy(a=0.5), None),
        ],
        top_k,
    ),
    # e^-H = 2^-bits = p^p (1 - p)^(1 - p): .5 at .5, .1^.1 * .9^.9 = .7943282 * .9095326 at .1.
    "srft": Row(
        [
            (Srft(), None),
            (Srft(sign=1), None),
            (
                Srft(level="token"),
                [0.9921239250, 0.9455376851, 0.7224674056, 0.5, 0.7224674056, 0.9455376851],
            ),
        ]
    ),
    # Half of the six: the entropies above order them as .5, then .1 and .9, then the others.
    "top_entropy": Row(
        [
            (TopEntropy(), None),
            (TopEntropy(rho=0.5), [0, 0, 1, 1, 1, 0]),
            (TopEntropy(rho=1), [1] * 6),
        ]
    ),
    # Q one-hot: 1 - max(p, 1 - p).
    "margin": Row(
        [(Margin(), None), (Margin(expert="one_hot"), [0.001, 0.01, 0.1, 0.5, 0.1, 0.01])]
    ),
    # Q one-hot, n = .5: 1 - n / 2.
    "adaptive": Row([(Adaptive(), None), (Adaptive(expert="one_hot"), [0.75] * 6)]),
    # p_ref = .2: 5 p within [.2, 1.8], so .005 and .05 are raised and 2.5, 4.5 and 4.95 lowered.
    "iw": Row(
        [
            (Iw(), [0.2, 0.2, 0.5, 1.8, 1.8, 1.8]),
            (Iw(level="sequence"), None),
            (Iw(high=3.0), [0.2, 0.2, 0.5, 2.5, 3, 3]),
        ]
    ),
}
RULES = [rule for row in ROWS.values() for rule, _ in row.tried]


def largest(rule: Weighting, vocabulary: int) -> float:
    """The largest weight that a rule may give before `normalize`."""
    if isinstance(rule, Iw):
        return 16 if rule.level == "sequence" else rule.high or 1.8
    return vocabulary if isinstance(rule, Srft) and rule.sign == 1 else 1
