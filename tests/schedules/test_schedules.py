"""Schedules: recorded curves, ends, lengths in steps and shares, and readable refusals."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from rows.schedules import OPEN_LOOPS, ROWS
from vectors import cases

from chord.config.registry import SCHEMAS
from chord.schedules import (
    Constant,
    Controller,
    Cosine,
    Exponential,
    Feedback,
    Linear,
    Periodic,
    Phase,
    Step,
    WarmupDecay,
    resolve_length,
)

RAMPS = {"linear": Linear, "cosine": Cosine, "exponential": Exponential}


@pytest.mark.parametrize("case", cases("mu_schedule"), ids=lambda case: case["name"])
def test_warmup_decay_reproduces_the_published_curve(case):
    given = {name.removeprefix("mu_"): value for name, value in case["kwargs"].items()}
    schedule = WarmupDecay(
        peak=given["peak"],
        valley=given["valley"],
        warmup=given["warmup_steps"],
        decay=given["decay_steps"],
        total_steps=1500,
    )
    for step, mu in zip(case["steps"], case["mu"], strict=True):
        assert abs(schedule(step) - mu) <= 1e-15


@pytest.mark.parametrize("case", cases("original_alpha_schedule"))
def test_ramps_reproduce_the_original_description(case):
    schedule = RAMPS[case["schedule_type"]](
        initial=case["initial_alpha"], final=case["final_alpha"], total_steps=case["total_steps"]
    )
    for step, alpha in zip(case["steps"], case["alpha"], strict=True):
        assert abs(schedule(step) - alpha) <= 1e-12


def test_every_schedule_of_the_registry_has_a_row() -> None:
    assert ROWS.keys() == SCHEMAS["schedule"].keys(), "add a row to tests/rows/schedules.py"
    for name, schema in SCHEMAS["schedule"].items():
        row = ROWS[name]
        assert {type(schedule) for schedule, _ in row.tried} == {schema}
        assert (row.plain is None) == issubclass(schema, Controller)
        assert row.plain is None or all(alphas for _, alphas in row.tried), name


@pytest.mark.parametrize(
    ("schedule", "alphas"),
    [pytest.param(*each, id=repr(each[0])) for row in ROWS.values() for each in row.tried],
)
def test_the_table_of_values(schedule, alphas):
    for step, alpha in alphas.items():
        assert schedule(step) == pytest.approx(alpha, abs=1e-15), step


@pytest.mark.parametrize("schedule", OPEN_LOOPS, ids=repr)
def test_the_plain_formula_has_the_same_values_and_alpha_is_a_share(schedule):
    name = next(name for name, schema in SCHEMAS["schedule"].items() if schema is type(schedule))
    for step in range(250):
        alpha = schedule(step)
        assert isinstance(alpha, float)
        assert 0 <= alpha <= 1
        assert ROWS[name].plain(asdict(schedule), step, 200) == pytest.approx(alpha, abs=1e-14)


@pytest.mark.parametrize("ramp", [Linear, Cosine])
def test_the_last_update_stops_one_step_short_of_final(ramp):
    schedule = ramp(initial=1.0, final=0.0, total_steps=10)
    assert schedule(9) > 0.0
    assert schedule(10) == schedule(10_000) == 0.0


def test_the_exponential_never_reaches_final():
    schedule = Exponential(initial=1.0, final=0.2, total_steps=10)
    assert schedule(10) == schedule(99) == pytest.approx(0.2 + 0.8 * math.exp(-5), abs=1e-15)


def test_chord_mu_is_the_default_of_warmup_decay():
    # .9 -> .05 over 2/15 of 1,500 steps = 200; half way (.9 + .05) / 2 = .475.
    schedule = WarmupDecay(total_steps=1500)
    assert schedule(0) == 0.9
    assert schedule(100) == pytest.approx(0.475, abs=1e-15)
    assert schedule(199) > 0.05
    assert schedule(200) == schedule(1499) == schedule(9999) == 0.05


def test_a_length_is_a_share_below_one_and_steps_from_one_on():
    assert resolve_length(0.3, 100) == 30.0
    assert resolve_length(30, 100) == 30.0
    assert resolve_length(0, 100) == 0.0
    assert resolve_length(1, 100) == resolve_length(1.0, 100) == 1.0


def test_shares_and_steps_name_the_same_curve():
    shares = WarmupDecay(warmup=0.25, decay=0.5, total_steps=200)
    steps = WarmupDecay(warmup=50, decay=100, total_steps=200)
    assert [shares(step) for step in range(210)] == [steps(step) for step in range(210)]


def test_a_curve_in_shares_keeps_its_shape_in_a_longer_run():
    short = WarmupDecay(warmup=0.1, decay=0.3, total_steps=100)
    long = WarmupDecay(warmup=0.1, decay=0.3, total_steps=10_000)
    for step in range(100):
        assert short(step) == pytest.approx(long(100 * step), abs=1e-12)


def test_warmup_decay_at_its_edges():
    # Warm-up only: 0, .2, .4, .6 of the peak .8 over 4 steps, then straight to the valley.
    warm = WarmupDecay(peak=0.8, valley=0.1, warmup=4, decay=0, total_steps=10)
    expected = [0.0, 0.2, 0.4, 0.6, 0.1]
    assert [warm(step) for step in range(5)] == pytest.approx(expected, abs=1e-15)
    # Neither: the peak is never seen.
    assert WarmupDecay(warmup=0, decay=0, total_steps=10)(0) == 0.05
    # Flat: cos rounding must not move it.
    flat = WarmupDecay(peak=0.3, valley=0.3, warmup=0, decay=7, total_steps=10)
    assert {flat(step) for step in range(20)} == {0.3}
    # A decay longer than the run is cut off by the end, not squeezed into it.
    assert WarmupDecay(decay=20, total_steps=10)(10) == pytest.approx(0.475, abs=1e-15)


def test_step_goes_from_pure_imitation_to_pure_rl():
    schedule = Step(switch_step=30, total_steps=100)
    assert [schedule(step) for step in (0, 29, 30, 99, 1000)] == [1.0, 1.0, 0.0, 0.0, 0.0]
    # Half of 5 steps is 2.5: steps 0, 1, 2 imitate.
    half = Step(switch_step=0.5, total_steps=5)
    assert [half(step) for step in range(5)] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert Step(switch_step=0, total_steps=5)(0) == 0.0
    # .07 * 100 is 7.000000000000001 in binary and still means seven steps.
    assert 0.07 * 100 > 7
    assert Step(switch_step=0.07, total_steps=100)(7) == 0.0


def test_step_has_a_phase_of_its_own_for_each_half():
    assert Step(total_steps=10).phase == Phase(lr=None, sft_factor=1.0, reset_optimizer=True)
    assert Phase(lr=[1e-4, 1e-5]).lr == [1e-4, 1e-5]


def test_periodic_imitates_in_the_last_of_every_period_steps():
    schedule = Periodic(period=3)
    assert [schedule(step) for step in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    assert {Periodic(period=1)(step) for step in range(5)} == {1.0}
    # A run that ends before the first of them never imitates.
    assert schedule.bounds(2) == (0.0, 0.0)
    assert schedule.bounds(3) == (0.0, 1.0)


def test_an_open_loop_waits_for_nothing_and_remembers_nothing():
    for schedule in OPEN_LOOPS:
        assert not schedule.needs
        assert not schedule.needs_rollouts
        assert schedule.observe(schedule.start(), 3, Feedback(reward=0.5)) == schedule.start() == {}
        assert schedule(3, {}) == schedule(3)


def test_bounds_are_the_lowest_and_highest_alpha_of_a_run():
    assert Constant(value=0.3).bounds(7) == (0.3, 0.3)
    # 1 - .8 q: the last of 4 steps has q = 3/4.
    assert Linear(total_steps=4).bounds(4) == pytest.approx((0.4, 1.0), abs=1e-15)
    assert Step(switch_step=3, total_steps=5).bounds(5) == (0.0, 1.0)
    assert Step(switch_step=0, total_steps=5).bounds(5) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(value=-0.1), "schedule.value=-0.1: must be within [0, 1]"),
        (lambda: Constant(value=math.nan), "schedule.value=nan: must be within [0, 1]"),
        (
            lambda: Linear(initial=1.3, total_steps=9),
            "schedule.initial=1.3: must be within [0, 1]",
        ),
        (lambda: Cosine(final=2, total_steps=9), "schedule.final=2: must be within [0, 1]"),
        (lambda: Exponential(total_steps=0), "schedule.total_steps=0: must be at least 1"),
        (lambda: WarmupDecay(peak=1.1, total_steps=9), "schedule.peak=1.1: must be within [0, 1]"),
        (
            lambda: WarmupDecay(valley=-1, total_steps=9),
            "schedule.valley=-1: must be within [0, 1]",
        ),
        (
            lambda: WarmupDecay(warmup=-1, total_steps=9),
            "schedule.warmup=-1: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1",
        ),
        (
            lambda: WarmupDecay(decay=1.5, total_steps=9),
            "schedule.decay=1.5: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1",
        ),
        (
            lambda: Step(switch_step=math.inf, total_steps=9),
            "schedule.switch_step=inf: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1",
        ),
        (lambda: Periodic(period=0), "schedule.period=0: must be at least 1"),
        (lambda: Step(total_steps=-1), "schedule.total_steps=-1: must be at least 1"),
        (
            lambda: Phase(lr=[1e-4]),
            "schedule.phase.lr=[0.0001]: must be two positive learning rates [sft, rl]",
        ),
        (
            lambda: Phase(lr=[1e-4, 0.0]),
            "schedule.phase.lr=[0.0001, 0.0]: must be two positive learning rates [sft, rl]",
        ),
        (lambda: Phase(sft_factor=0), "schedule.phase.sft_factor=0: must be positive"),
        (lambda: Phase(sft_factor=math.nan), "schedule.phase.sft_factor=nan: must be positive"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(build, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == message
