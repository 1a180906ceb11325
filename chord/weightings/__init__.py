"""Token weights: how strongly each expert token is imitated.

A weight is a detached number w >= 0 for each token, at most 1 before `normalize` unless the rule
says otherwise. It scales the token's negative log-likelihood and never has a gradient: with one,
phi = p (1 - p) would have the effective weight p (1 - p) + p (1 - 2p) ln p, which is negative below
p = .2356 and would unlearn rare tokens.

In the formulas, p is the policy's probability of the target token, P its distribution there, H an
entropy in nats, Q the expert's distribution (a teacher's softmax), and V the vocabulary size.
"""

from __future__ import annotations

from chord.weightings.base import Weighting, WeightInputs
from chord.weightings.entropy import Entropy, Srft, TopEntropy, TopKEntropy
from chord.weightings.expert import Adaptive, Margin
from chord.weightings.probability import (
    Focal,
    Importance,
    ImportanceClip,
    Luffy,
    Phi,
    Power,
    RlPlus,
    Threshold,
    TrustRegion,
    Uniform,
)
from chord.weightings.reference import Iw
from chord.weightings.stats import (
    TokenStats,
    minmax_signal,
    token_logprobs,
    token_stats,
    weight_mean,
)

__all__ = [
    "Adaptive",
    "Entropy",
    "Focal",
    "Importance",
    "ImportanceClip",
    "Iw",
    "Luffy",
    "Margin",
    "Phi",
    "Power",
    "RlPlus",
    "Srft",
    "Threshold",
    "TokenStats",
    "TopEntropy",
    "TopKEntropy",
    "TrustRegion",
    "Uniform",
    "WeightInputs",
    "Weighting",
    "minmax_signal",
    "token_logprobs",
    "token_stats",
    "weight_mean",
]
