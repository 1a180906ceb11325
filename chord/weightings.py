"""Token weights: how strongly each expert token is imitated.

A weight is a detached number w >= 0 for each token, at most 1 before `normalize`. It scales the
token's negative log-likelihood and never carries a gradient: with one, phi = p(1 - p) would have
the effective weight p(1 - p) + p(1 - 2p) ln p, negative below p = .2356, and unlearn rare tokens.

In the formulas p is the policy's probability of the target token, P its distribution there, H an
entropy, Q the expert's distribution (a teacher's softmax), V the size of the vocabulary.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

NORMALIZE = ("none", "mean1")
APPLY_TO = ("sft", "both")
EXPERTS = ("teacher", "one_hot")


@dataclass
class TokenStats:
    """What a weighting may read about one model at each token, shape (..., T).

    `logprobs`: log p of the target token, the only one that carries a gradient; `entropy`: of the
    whole distribution, in nats; `max_prob`: the largest probability in it; `vocab_size`: V.
    """

    logprobs: Tensor
    entropy: Tensor
    max_prob: Tensor
    vocab_size: int


def token_stats(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> TokenStats:
    """Statistics of softmax(logits / temperature) at each target; logits (..., V), targets (...).

    Weights are always read at temperature 1; the sampling temperature belongs to the RL ratio only
    (`token_logprobs`). Everything goes through log-softmax, so logits hundreds apart stay finite.
    For logits (0, 0) and target 0: log p = -ln 2, entropy ln 2, max_prob .5.
    """
    logprobs = _log_softmax(logits, temperature)
    distribution = logprobs.detach().exp()
    return TokenStats(
        logprobs=_pick(logprobs, targets),
        # xlogy, because 0 log 0 is 0 where a probability underflows.
        entropy=-distribution.xlogy(distribution).sum(dim=-1),
        max_prob=distribution.amax(dim=-1),
        vocab_size=logits.shape[-1],
    )


def token_logprobs(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) of each target: logits (..., V), targets (...) -> (...).

    For logits (0, 2), target 1 and temperature 2 it is 1 - ln(1 + e) = -.31326.
    """
    return _pick(_log_softmax(logits, temperature), targets)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    assert temperature > 0, "temperature 0 is greedy decoding and has no log-probabilities"
    return (logits if temperature == 1.0 else logits / temperature).log_softmax(dim=-1)


def _pick(logprobs: Tensor, targets: Tensor) -> Tensor:
    return logprobs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def minmax_signal(
    scores: Tensor, *, low: Tensor | float | None = None, high: Tensor | float | None = None
) -> Tensor:
    """n = (|s| - low) / (high - low) in [0, 1], and 0 where all scores are equal; any shape.

    `low` and `high` are the smallest and largest |s| of the whole optimizer step. They are taken
    from `scores` when not given, which is right only if those are all scores of the step.
    `minmax_signal([-1., .5, 0.])` is (1, .5, 0).
    """
    magnitude = scores.detach().abs()
    if not magnitude.is_floating_point():
        magnitude = magnitude.double()
    if magnitude.numel() == 0:
        return magnitude
    floor = magnitude.min() if low is None else magnitude.new_tensor(float(low))
    width = (magnitude.max() if high is None else magnitude.new_tensor(float(high))) - floor
    return ((magnitude - floor) / width.masked_fill(width <= 0, math.inf)).clamp(0.0, 1.0)


def weight_mean(weights: Tensor, mask: Tensor) -> Tensor:
    """Sum of the weights over the number of True in mask, 0 for an empty mask; both (..., T).

    Weights (.25, .09, .5), the last one masked: .17.
    """
    return weights.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


@dataclass(kw_only=True)
class Weighting(ABC):
    """A rule for token weights.

    `normalize`: `none`, or `mean1` to divide by the mean over all unmasked expert tokens of the
    optimizer step, so that two rules push equally hard in total. `apply_to`: `sft`, or `both` to
    scale the RL term too, by the same function of the model's own tokens.
    """

    needs_signal: ClassVar[bool] = False

    normalize: str = "none"
    apply_to: str = "sft"

    def __post_init__(self) -> None:
        _check_choice("normalize", self.normalize, NORMALIZE)
        _check_choice("apply_to", self.apply_to, APPLY_TO)

    @property
    def needs_teacher(self) -> bool:
        """Whether the rule reads the distribution of a teacher."""
        return False

    @abstractmethod
    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        """Detached weights in [0, 1] for every position, masked or not, before `normalize`."""

    def masked(
        self,
        policy: TokenStats,
        mask: Tensor,
        *,
        expert: TokenStats | None = None,
        signal: Tensor | None = None,
    ) -> Tensor:
        """`raw` with 0 outside the mask: what a caller sums up to find the step's mean weight."""
        return self.raw(policy, expert=expert, signal=signal).detach().masked_fill(~mask, 0.0)

    def __call__(
        self,
        policy: TokenStats,
        mask: Tensor,
        *,
        expert: TokenStats | None = None,
        signal: Tensor | None = None,
        mean: Tensor | float | None = None,
    ) -> Tensor:
        """Weights (..., T) for the targets, 0 outside `mask`, without gradient.

        `expert`: the teacher's statistics at the same positions, for rules with `needs_teacher`.
        `signal`: (...) one value in [0, 1] for each row, or one for each token, for rules with
        `needs_signal`. `mean`: for `mean1`, sum of `masked` over number of tokens of the *whole
        optimizer step*; taken from this call alone if not given, which is right only if this is
        all of the step. A mean of 0 leaves the weights at 0.

        Raises ValueError when a needed input is missing.
        `Phi(normalize="mean1")` on p = .5 and .9: raw .25 and .09, mean .17, weights 1.47 and .53.
        """
        weights = self.masked(policy, mask, expert=expert, signal=signal)
        if self.normalize == "none":
            return weights
        mean = weight_mean(weights, mask) if mean is None else weights.new_tensor(float(mean))
        return weights / mean.masked_fill(mean <= 0, math.inf)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"weighting.{name}={value}: must be one of {', '.join(allowed)}")


def _probability(policy: TokenStats) -> Tensor:
    return policy.logprobs.detach().exp()


def _relative_entropy(stats: TokenStats) -> Tensor:
    """Entropy over its largest possible value ln V, in [0, 1]."""
    return (stats.entropy.detach() / math.log(max(stats.vocab_size, 2))).clamp(0.0, 1.0)


@dataclass(kw_only=True)
class Uniform(Weighting):
    """w = 1: plain SFT."""

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        return policy.logprobs.detach().new_ones(policy.logprobs.shape)


@dataclass(kw_only=True)
class Phi(Weighting):
    """w = p (1 - p): CHORD-phi (arXiv 2508.11408, eqs. 5-6), small for both sure and hopeless p.

    p = .01 / .1 / .5 / .9 give .0099 / .09 / .25 / .09.
    """

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        p = _probability(policy)
        return p * (1.0 - p)


@dataclass(kw_only=True)
class Importance(Weighting):
    """w = p: SFT-IS, the expert's probability of its own token taken as 1.

    arXiv 2508.11408, eq. 4; also known as DFT (2508.05629). p = .1 gives .1.
    """

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        return _probability(policy)


@dataclass(kw_only=True)
class Entropy(Weighting):
    """w = H(P) / ln V: strong where the policy is unsure; from the unified objective.

    P = (.5, .5) over two tokens gives 1, (1, 0) gives 0.
    """

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        return _relative_entropy(policy)


@dataclass(kw_only=True)
class _ExpertWeighting(Weighting):
    """A rule that compares with an expert: `teacher`'s distribution, or all mass on the target."""

    expert: str = "teacher"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("expert", self.expert, EXPERTS)

    @property
    def needs_teacher(self) -> bool:
        return self.expert == "teacher"

    def _teacher(self, expert: TokenStats | None) -> TokenStats:
        if expert is None:
            raise ValueError(
                "weighting.expert=teacher: needs a teacher's distribution; "
                "give one, or choose weighting.expert=one_hot"
            )
        return expert


@dataclass(kw_only=True)
class Adaptive(_ExpertWeighting):
    """w = (1 - H(Q) / ln V) (1 - n / 2): strong where the expert is sure and the signal is low.

    From the unified objective. `signal` is n = `minmax_signal` of the verifier's score of the
    expert's answer. With `expert=one_hot` H(Q) is 0 and w = 1 - n / 2. A uniform Q gives 0; a sure
    Q gives 1 at n = 0 and .5 at n = 1.
    """

    needs_signal: ClassVar[bool] = True

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        if signal is None:
            raise ValueError("weighting=adaptive: needs a signal, one value in [0, 1] for each row")
        logprobs = policy.logprobs.detach()
        n = signal.detach().to(logprobs.dtype)
        damping = 1.0 - 0.5 * (n.unsqueeze(-1) if n.dim() < logprobs.dim() else n)
        if not self.needs_teacher:
            return damping.expand(logprobs.shape)
        return ((1.0 - _relative_entropy(self._teacher(expert))) * damping).clamp(0.0, 1.0)


@dataclass(kw_only=True)
class Margin(_ExpertWeighting):
    """w = clip(max Q - max P, 0, 1): strong where the expert is surer than the policy.

    From the unified objective. With `expert=one_hot` max Q is 1 and w = 1 - max P. max Q = .9,
    max P = .6 give .3; the other way round 0.
    """

    def raw(
        self, policy: TokenStats, *, expert: TokenStats | None = None, signal: Tensor | None = None
    ) -> Tensor:
        own = policy.max_prob.detach()
        sure = self._teacher(expert).max_prob.detach() if self.needs_teacher else 1.0
        return (sure - own).clamp(0.0, 1.0)
