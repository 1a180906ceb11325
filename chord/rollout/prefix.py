"""Expert prefixes: how much of the expert's response a rollout continues.

A group is sampled in *stages*, one after the other; each stage gives its rows the same share of the
expert's response. One stage with a share of 0 is plain sampling.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

KINDS = ("none", "binomial", "uniform", "staged")
PIECES = 5
"""The number of pieces into which `binomial` cuts a response."""
STAGES: Sequence[tuple[float, float | None]] = ((0.0, None), (0.25, 0.5), (0.5, 4 / 6), (1.0, 1.0))
"""`staged`: the share of the response, and the mean score below which it is given."""


@dataclass(frozen=True)
class Given:
    """The part of a response before the policy writes: an expert's response, or a prefix of it.

    `written`: which of the tokens are the expert's. In a response of several turns, the others are
    the turns of other speakers and what the chat template puts around them.
    """

    tokens: list[int] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)

    @property
    def count(self) -> int:
        """The number of tokens that the expert wrote."""
        return sum(self.written)

    def first(self, count: int) -> Given:
        """The expert's first `count` tokens, and other speakers' turns up to its next token.

        So it never ends inside another speaker's turn. Of 5, 1, 8, 9, 6, 1, where 8 and 9 are not
        the expert's, the first two are 5, 1, 8, 9: the policy continues where the expert does,
        before 6.
        """
        places = [place for place, own in enumerate(self.written) if own]
        end = places[count] if count < len(places) else len(self.tokens)
        return Given(self.tokens[:end], self.written[:end])

    @property
    def turn(self) -> list[int]:
        """The tokens of the last turn, which the policy continues and is graded with."""
        others = [place for place, own in enumerate(self.written) if not own]
        return self.tokens[others[-1] + 1 :] if others else self.tokens


@dataclass(frozen=True)
class Stage:
    """`count` rollouts for each problem that continue `share` of the expert's response.

    `only_below`: the problem gets the prefix only if its mean score so far is below this; None: it
    always does.
    """

    count: int
    share: float
    only_below: float | None = None

    def length(self, answer: int, solved: float) -> int:
        """The prefix's length, of the `answer` tokens that the expert wrote, given the mean score
        of earlier stages.

        `Stage(2, .25, only_below=.5).length(10, .4) == 2`; with a mean score of .5 it is 0.
        """
        if self.only_below is not None and solved >= self.only_below:
            return 0
        # .6 * 5 must be 3 despite rounding.
        return math.floor(self.share * answer + 1e-9)


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """A rule for the stages of a problem's group, given the train step.

    `binomial` (UFT, arXiv 2505.16984): all rollouts continue Binomial(5, p_t) fifths. `uniform`
    (Prefix-RFT, 2507.01679): the last `samples` rollouts continue a share drawn from U(p_t,
    `initial`). p_t falls along a half cosine from `initial` to `final` over the first `until`
    steps; after that, `binomial` gives no prefix, and `uniform` keeps `final`. `staged` (TRAPO,
    2512.17636): see `staged`.
    """

    kind: str
    initial: float
    final: float
    until: float
    samples: int

    def share(self, step: int) -> float:
        """p_t = final + (initial - final) (1 + cos(pi min(t / until, 1))) / 2."""
        q = min(step / self.until, 1.0) if self.until > 0 else 1.0
        return self.final + (self.initial - self.final) * 0.5 * (1.0 + math.cos(math.pi * q))

    def unaided(self, group_size: int) -> int:
        """The number of rollouts without a prefix, in a group that has such rollouts.

        They come first. If `binomial` gives a group a prefix at all, the group has none of them.
        """
        if self.kind == "uniform":
            return group_size - self.samples
        return staged(group_size)[0].count if self.kind == "staged" else group_size

    def stages(self, group_size: int, *, step: int, seed: int, key: int) -> list[Stage]:
        """The stages of one problem's group; draws are seeded by (seed, step, problem key)."""
        if self.kind == "none":
            return [Stage(group_size, 0.0)]
        if self.kind == "staged":
            return staged(group_size)
        rng = random.Random(f"prefix/{seed}/{step}/{key}")
        if self.kind == "uniform":
            drawn = rng.uniform(self.share(step), self.initial)
            return [Stage(group_size - self.samples, 0.0), Stage(self.samples, drawn)]
        past = step >= self.until
        pieces = 0 if past else sum(rng.random() < self.share(step) for _ in range(PIECES))
        return [Stage(group_size, pieces / PIECES)]


def staged(group_size: int) -> list[Stage]:
    """TRAPO's micro-groups, which get longer prefixes as long as too few rollouts are right.

    Half of the group has no prefix, a quarter has 25 % of the expert's response, and an eighth each
    has 50 % and all of it.

    A group of 8 is cut into 4, 2, 1, 1; a prefix is given if fewer than 2 of 4, 4 of 6, and 7 of 7
    are right (public code, commit 982cb8f, `mix_vllm_rollout.py`). Other sizes are cut in the same
    proportions, and the first stage takes the remainder. Needs at least four rollouts.
    """
    assert group_size >= len(STAGES), f"a group of {group_size} has no four stages"
    counts = [max(1, round(group_size * share)) for share in (1 / 4, 1 / 8, 1 / 8)]
    rest = zip(counts, STAGES[1:], strict=True)
    return [
        Stage(group_size - sum(counts), 0.0),
        *(Stage(count, share, only_below) for count, (share, only_below) in rest),
    ]
