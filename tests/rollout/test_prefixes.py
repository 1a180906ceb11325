"""Expert prefixes: which answers start from how much of the expert's."""

from __future__ import annotations

import math

import pytest

from chord.rollout import RolloutConfig
from chord.rollout.prefix import Prefixes, Stage, staged


def rule(kind: str, **changes: float) -> Prefixes:
    values = {"initial": 0.95, "final": 0.05, "until": 60, "samples": 1} | changes
    return Prefixes(kind=kind, **values)  # type: ignore[arg-type]


def test_without_prefixes_a_group_is_one_stage():
    assert rule("none").stages(8, step=3, seed=0, key=5) == [Stage(8, 0.0)]


def test_the_share_falls_by_a_half_cosine():
    # .05 + .9 (1 + cos(pi t / 60)) / 2: .95 at 0, .5 at 30, .05 from 60 on; at 15 it is
    # .05 + .9 * .853553 = .818198.
    shares = [rule("uniform").share(step) for step in (0, 15, 30, 60, 90)]
    assert shares == pytest.approx([0.95, 0.818198, 0.5, 0.05, 0.05], abs=1e-6)
    assert rule("uniform", until=0).share(0) == 0.05


def test_binomial_gives_fifths_with_the_right_mean_and_none_past_the_end():
    prefixes = rule("binomial")
    shares = [prefixes.stages(8, step=30, seed=0, key=key)[0].share for key in range(4000)]
    assert set(shares) <= {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}
    # Binomial(5, .5) / 5: mean .5, standard error sqrt(.25 / 5 / 4000) = .0035.
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02)
    assert prefixes.stages(8, step=60, seed=0, key=1) == [Stage(8, 0.0)]
    assert prefixes.stages(8, step=30, seed=0, key=7) == prefixes.stages(8, step=30, seed=0, key=7)


def test_uniform_gives_some_answers_a_share_above_the_falling_bound():
    prefixes = rule("uniform", samples=2)
    for key in range(200):
        plain, prefixed = prefixes.stages(8, step=15, seed=1, key=key)
        assert plain == Stage(6, 0.0)
        assert prefixed.count == 2
        assert 0.818 < prefixed.share <= 0.95


def test_stages_of_eight_are_four_two_one_one():
    # Right so far: 2 of 4 is no longer below .5, 4 of 6 no longer below 2/3, 7 of 7 not below 1.
    first, second, third, last = staged(8)
    assert [stage.count for stage in (first, second, third, last)] == [4, 2, 1, 1]
    assert first.length(20, 0.0) == 0
    assert [second.length(20, solved) for solved in (0.25, 0.5)] == [5, 0]
    assert [third.length(20, solved) for solved in (3 / 6, 4 / 6)] == [10, 0]
    assert [last.length(20, solved) for solved in (6 / 7, 1.0)] == [20, 0]
    assert [stage.count for stage in staged(4)] == [1, 1, 1, 1]


@pytest.mark.parametrize("answer", [1, 5, 10, 43])
def test_a_fifth_of_five_is_one_however_it_rounds(answer):
    # .6 * 5 is 3.0000000000000004 or 2.9999999999999996: it must be 3.
    for pieces in range(6):
        assert Stage(8, pieces / 5).length(answer, 0.0) == math.floor(pieces * answer / 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prefix": "half"}, r"rollout\.prefix=half: must be one of none, binomial"),
        ({"prefix_loss": "all"}, r"rollout\.prefix_loss=all"),
        ({"expert_in_group": 8}, r"rollout\.expert_in_group=8: must be within \[0, 7\]"),
        ({"prefix_samples": 0}, r"rollout\.prefix_samples=0: must be within \[1, 7\]"),
        ({"prefix_initial": 1.2}, r"rollout\.prefix_initial=1\.2"),
        ({"prefix_until": -1.0}, r"rollout\.prefix_until=-1\.0"),
        ({"prefix_coef": math.inf}, r"rollout\.prefix_coef=inf"),
        ({"prefix": "uniform", "expert_in_group": 1}, "must be none with"),
        ({"prefix": "staged", "group_size": 3}, r"rollout\.group_size=3: must be at least 4"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        RolloutConfig(**values)
