"""Mixes: the shares of the two branches."""

from __future__ import annotations

import pytest

from chord.schedules.mixes import Additive, Convex


def test_convex_shares_sum_to_one():
    assert Convex()(0.25) == (0.25, 0.75)
    assert Convex()(0.0) == (0.0, 1.0)
    assert Convex()(1.0) == (1.0, 0.0)


def test_additive_leaves_rl_whole():
    assert Additive(coef=0.5)(1.0) == (0.5, 1.0)
    assert Additive(coef=2.0)(0.25) == (0.5, 1.0)
    assert Additive()(0.0) == (0.0, 1.0)


@pytest.mark.parametrize("coef", [-0.1, float("nan"), float("inf")])
def test_a_coefficient_below_zero_is_refused(coef):
    with pytest.raises(ValueError, match=r"mix\.coef="):
        Additive(coef=coef)
