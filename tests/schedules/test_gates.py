"""Gates: what is judged and what waits, by hand; states that a checkpoint can hold."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chord.schedules.gates import AllWrongBuffer, Gate, NoGate, SolveRate


def solved(*counts: int, group: int = 8) -> Tensor:
    """Scores of problems with so many right answers among `group`."""
    return torch.tensor([[1.0] * n + [0.0] * (group - n) for n in counts], dtype=torch.float64)


def test_without_a_gate_nothing_is_judged_and_nothing_waits() -> None:
    gate = NoGate()
    assert gate.judge(solved(0, 8)).tolist() == [0.0, 0.0]
    assert gate.add([], [1, 2], solved(0, 0)) == ([], [])
    assert not gate.needs_experts


def test_a_problem_is_imitated_where_too_few_rollouts_solve_it() -> None:
    scores = solved(0, 1, 2, 3, 8)
    assert SolveRate().judge(scores).tolist() == [1, 0, 0, 0, 0]
    # At most 2 of 8, the bound included.
    assert SolveRate(gamma=0.25).judge(scores).tolist() == [1, 1, 1, 0, 0]
    assert SolveRate(gamma=1.0).judge(scores).tolist() == [1] * 5
    assert SolveRate().judge(scores.float()).dtype == torch.float32


def test_a_bound_that_binary_cannot_hold_is_still_included() -> None:
    # 3 of 10 and .1 + .2 - 1e-17 are the same bound to a user.
    assert SolveRate(gamma=0.3).judge(solved(3, 4, group=10)).tolist() == [1, 0]
    assert SolveRate(gamma=1 / 3).judge(solved(1, 2, group=3)).tolist() == [1, 0]


def test_an_answer_that_is_partly_right_does_not_solve_the_problem() -> None:
    assert SolveRate().judge(torch.tensor([[0.9, 0.5], [1.0, 0.0]])).tolist() == [1, 0]


def test_the_soft_gate_falls_from_one_to_zero_over_half_the_group() -> None:
    # 2^-s / (2^-s + 2^(s-4)): s = 1: .5 / (.5 + .125) = .8; 2: .25 / .5; 3: .125 / .625 = .2.
    expected = [1, 0.8, 0.5, 0.2, 0, 0, 0, 0, 0]
    g = SolveRate(soft=True).judge(solved(*range(9)))
    assert g.tolist() == pytest.approx(expected, abs=1e-15)
    # The same rates in a group of 4: 0, 2/8, 4/8, ...
    quarter = SolveRate(soft=True).judge(solved(*range(5), group=4))
    assert quarter.tolist() == pytest.approx([1, 0.5, 0, 0, 0], abs=1e-15)
    # Up to gamma it is imitation alone.
    firm = SolveRate(soft=True, gamma=0.25).judge(solved(*range(5)))
    assert firm.tolist() == pytest.approx([1, 1, 1, 0.2, 0], abs=1e-15)


def test_failed_problems_wait_once_and_in_order() -> None:
    gate = AllWrongBuffer(size=3)
    state, released = gate.add(gate.start(), [7, 8, 9], solved(0, 1, 0))
    assert (state, released) == ([7, 9], [])
    # 9 again: it keeps its place. Then the oldest three leave and 5 waits.
    state, released = gate.add(state, [9, 4, 5], solved(0, 0, 0))
    assert (state, released) == ([5], [7, 9, 4])
    # A released problem may fail again.
    assert gate.add(state, [7], solved(0)) == ([5, 7], [])


def test_only_one_step_is_released_at_a_time() -> None:
    gate = AllWrongBuffer(size=1)
    state, released = gate.add([], [1, 2, 3], solved(0, 0, 0))
    assert (state, released) == ([2, 3], [1])
    assert gate.add(state, [4], solved(8)) == ([3], [2])


def test_one_right_or_partly_right_answer_keeps_a_problem_out() -> None:
    gate = AllWrongBuffer(size=2)
    scores = torch.tensor([[0.0, 0.0, 0.1], [0.0, -0.5, 0.0]])
    assert gate.add([], [1, 2], scores) == ([2], [])
    assert gate.judge(scores).tolist() == [0, 0]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.integers(1, 5),
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=6), max_size=8),
)
def test_no_failed_problem_is_lost_and_none_waits_twice(
    size: int, steps: list[list[tuple[int, int]]]
) -> None:
    gate, state = AllWrongBuffer(size=size), list[int]()
    for step in steps:
        before, keys = list(state), [key for key, _ in step]
        scores = solved(*[n for _, n in step], group=2).reshape(-1, 2)
        after, released = gate.add(state, keys, scores)
        assert state == before, "nothing is changed in place"
        failed = {key for key, n in step if n == 0}
        assert len(after) + len(released) == len({*before, *failed})
        assert {*after, *released} == {*before, *failed}
        assert len(released) in (0, size)
        assert released or len(after) < size
        file = io.BytesIO()
        torch.save(after, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        assert state == after


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.builds(SolveRate, gamma=st.floats(0, 1), soft=st.booleans()),
    st.lists(st.integers(0, 7), min_size=1, max_size=9),
)
def test_g_is_a_share_and_falls_with_the_solve_rate(gate: Gate, counts: list[int]) -> None:
    g = gate.judge(solved(*sorted(counts), group=7))
    assert g.shape == (len(counts),)
    assert ((g >= 0) & (g <= 1)).all()
    assert (g.diff() <= 0).all()


def test_a_wrong_value_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"^gate.gamma=-0.1: must be within \[0, 1\]$"):
        SolveRate(gamma=-0.1)
    with pytest.raises(ValueError, match=r"^gate.size=0: must be at least 1$"):
        AllWrongBuffer(size=0)
