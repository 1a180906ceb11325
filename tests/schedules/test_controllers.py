"""Controllers: trajectories by hand, bounds for any feedback, and a state that a file can hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chord.schedules import (
    Controller,
    EntropyTarget,
    Feedback,
    Gac,
    GradientRatio,
    RewardGap,
    State,
)

reals = st.floats(-1e6, 1e6)
shares = st.floats(0, 1)
ranges = st.tuples(shares, shares).map(lambda ends: (min(ends), max(ends)))
CONTROLLERS: dict[str, st.SearchStrategy[Controller]] = {
    "reward_gap": st.builds(RewardGap, tau=shares, ema=st.floats(0, 0.999)),
    "entropy": ranges.flatmap(
        lambda ends: st.builds(
            EntropyTarget,
            target=st.floats(0, 9),
            rate=st.floats(0, 5),
            initial=st.floats(*ends),
            low=st.just(ends[0]),
            high=st.just(ends[1]),
        )
    ),
    "gac": ranges.flatmap(
        lambda ends: st.builds(
            Gac,
            balance=shares,
            ema=st.floats(0, 0.999),
            cap=st.floats(0.001, 1),
            every=st.integers(1, 4),
            blend=shares,
            low=st.just(ends[0]),
            high=st.just(ends[1]),
            total_steps=st.integers(1, 50),
        )
    ),
    "gradient_ratio": st.builds(
        GradientRatio,
        warmup=st.sampled_from([0, 0.3, 1, 4]),
        gamma=st.floats(0, 9),
        draw=st.booleans(),
        seed=st.integers(0, 99),
        total_steps=st.integers(1, 50),
    ),
}
feedbacks = st.builds(
    Feedback,
    reward=reals,
    entropy=st.floats(0, 20),
    sft_grad_norm=st.floats(0, 1e6),
    advantage_variance=st.floats(0, 1e6),
    nll_variance=st.floats(0, 1e6),
    gap=st.floats(0, 1e6),
)


def alphas(controller: Controller, feedback: list[Feedback]) -> list[float]:
    """Alpha of steps 0, 1, ... with the given feedback."""
    state, seen = controller.start(), []
    for step, shown in enumerate(feedback):
        state = controller.observe(state, step, shown)
        seen.append(controller(step, state))
    return seen


def through_a_file(state: State) -> State:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: State = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("name", CONTROLLERS)
def test_alpha_stays_within_its_bounds_whatever_the_feedback(name: str) -> None:
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(CONTROLLERS[name], st.lists(feedbacks, min_size=1, max_size=30))
    def check(controller: Controller, feedback: list[Feedback]) -> None:
        low, high = controller.bounds(len(feedback))
        assert 0 <= low <= high <= 1
        for alpha in [controller(0), *alphas(controller, feedback)]:
            assert isinstance(alpha, float)
            assert low <= alpha <= high

    check()


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_state_read_back_from_a_file_goes_on_the_same(name: str) -> None:
    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(CONTROLLERS[name], st.lists(feedbacks, min_size=1, max_size=9))
    def check(controller: Controller, feedback: list[Feedback]) -> None:
        kept = read = controller.start()
        for step, shown in enumerate(feedback):
            before = dict(kept)
            after = controller.observe(kept, step, shown)
            assert kept == before, "observe changes nothing in place"
            kept, read = after, through_a_file(controller.observe(read, step, shown))
            assert read == kept
            assert controller(step, read) == controller(step, kept)

    check()


@pytest.mark.parametrize("name", CONTROLLERS)
def test_before_anything_is_seen_alpha_is_that_of_the_start(name: str) -> None:
    @settings(deadline=None, derandomize=True, max_examples=20)
    @given(CONTROLLERS[name])
    def check(controller: Controller) -> None:
        assert controller(0) == controller(0, controller.start())

    check()


def test_the_reward_gap_is_what_the_rollouts_lack() -> None:
    rewards = [Feedback(reward=r) for r in (0.0, 0.3, 0.8, -0.7)]
    # .5 - r, clipped: .5, .2, below 0, above 1.
    assert alphas(RewardGap(), rewards) == pytest.approx([0.5, 0.2, 0.0, 1.0], abs=1e-15)


def test_the_average_of_rewards_starts_at_the_first_one() -> None:
    rewards = [Feedback(reward=r) for r in (0.4, 0.0, 0.8)]
    # m: .4, then .75 * .4 = .3, then .75 * .3 + .25 * .8 = .425.
    expected = [0.6, 0.7, 0.575]
    assert alphas(RewardGap(tau=1.0, ema=0.75), rewards) == pytest.approx(expected, abs=1e-15)


def test_alpha_rises_while_the_entropy_is_below_the_target() -> None:
    controller = EntropyTarget(target=1.0, rate=0.1, initial=0.5)
    entropies = [Feedback(entropy=h) for h in (0.4, 2.0, 1.0)]
    # .5 + .1 * .6 = .56; - .1 * 1 = .46; on target it stays.
    assert alphas(controller, entropies) == pytest.approx([0.56, 0.46, 0.46], abs=1e-15)


def test_what_is_clipped_is_not_made_up_for() -> None:
    controller = EntropyTarget(target=1.0, rate=1.0, initial=0.5, low=0.2, high=0.6)
    entropies = [Feedback(entropy=h) for h in (0.0, 0.0, 1.1, 9.0, 0.9)]
    # 1.5 -> .6 twice; .6 - .1 = .5; far below -> .2; .2 + .1.
    expected = [0.6, 0.6, 0.5, 0.2, 0.3]
    assert alphas(controller, entropies) == pytest.approx(expected, abs=1e-15)


def statistics(rl: float, sft: float, gap: float) -> Feedback:
    return Feedback(advantage_variance=rl, nll_variance=sft, gap=gap)


def test_gac_takes_the_mix_with_the_smallest_error() -> None:
    # No average, no cap, no prior: (.5 D^2 + s_r^2) / (D^2 + s_s^2 + s_r^2).
    free = Gac(ema=0.0, cap=1.0, every=1, blend=1.0, low=0.0, high=1.0, total_steps=9)
    shown = [
        statistics(1, 2, 1),  # 1.5 / 4
        statistics(3, 0, 0),  # an SFT branch without noise: imitation
        statistics(0, 3, 0),  # the other way round
        statistics(0, 0, 2),  # no noise: the balance
        statistics(0, 0, 0),  # nothing known: likewise
    ]
    assert alphas(free, shown) == pytest.approx([0.375, 1.0, 0.0, 0.5, 0.5], abs=1e-15)
    # .2 * 1 + 1 = 1.2 of 4.
    tilted = replace(free, balance=0.2)
    assert alphas(tilted, shown[:1]) == pytest.approx([0.3], abs=1e-15)


def test_gac_moves_by_its_cap_towards_the_blend_and_only_at_updates() -> None:
    # A flat prior of .2, where it starts: best is 1 throughout, so it heads for .5 * 1 + .5 * .2.
    flat = {"peak": 0.2, "valley": 0.2, "warmup": 0, "decay": 0, "total_steps": 9}
    controller = Gac(every=2, cap=0.15, ema=0.0, **flat)
    shown = [statistics(1, 0, 0)] * 8
    expected = [0.35, 0.35, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6]
    assert alphas(controller, shown) == pytest.approx(expected, abs=1e-15)
    assert controller.needs_at(4) == controller.needs
    assert not controller.needs_at(5)


def test_gac_averages_the_statistics_from_the_first_on() -> None:
    flat = {"peak": 0.5, "valley": 0.5, "warmup": 0, "decay": 0, "total_steps": 9}
    free = Gac(every=1, cap=1.0, ema=0.75, blend=1.0, low=0.0, high=1.0, **flat)
    # s_r^2: 1, .75; s_s^2: 0, .25; so 1, then .75 / 1.
    shown = [statistics(1, 0, 0), statistics(0, 1, 0)]
    assert alphas(free, shown) == pytest.approx([1.0, 0.75], abs=1e-15)


def test_gac_starts_at_its_prior_and_stays_in_its_range() -> None:
    # The prior warms up from 0, which is below the range.
    assert Gac(total_steps=1000)(0) == 0.05
    # Half of the decay from .85 to .15.
    assert Gac(total_steps=1000).prior(600) == pytest.approx(0.5, abs=1e-15)
    # Best 1 and prior .85 * .05 / .2 at step 50 give .60625: .05 + .01 in each of six updates.
    seen = alphas(Gac(total_steps=1000), [statistics(1, 0, 0)] * 51)
    assert seen[50] == pytest.approx(0.11, abs=1e-12)


def norms(*values: float | None) -> list[Feedback]:
    return [Feedback(sft_grad_norm=value) for value in values]


def test_gradient_ratio_warms_up_with_imitation_alone() -> None:
    # .3 of 10 steps, then G / (G + gamma G_0): 2 / 4, 1 / 3, 6 / 8.
    controller = GradientRatio(warmup=0.3, draw=False, total_steps=10)
    shown = norms(None, 9, 8, 2, 1, 6)
    expected = [1, 1, 1, 0.5, 1 / 3, 0.75]
    assert alphas(controller, shown) == pytest.approx(expected, abs=1e-15)
    # 1 / (1 + 3 * 2) with gamma 3.
    strict = replace(controller, gamma=3.0)
    assert alphas(strict, shown)[4] == pytest.approx(1 / 7, abs=1e-15)
    # There is always a first norm, also without a warm-up; nothing to imitate is RL.
    assert alphas(GradientRatio(warmup=0, draw=False, total_steps=9), norms(None, 0.0)) == [1, 0]


def test_draws_are_sft_or_rl_with_the_probability_and_depend_on_seed_and_step_alone() -> None:
    drawn = GradientRatio(warmup=1, total_steps=2001)
    state: State = {"first": 2.0, "norm": 1.0}
    seen = [drawn(step, state) for step in range(1, 2001)]
    assert set(seen) == {0.0, 1.0}
    # 1/3 of 2,000, give or take four standard deviations of 21.
    assert sum(seen) == pytest.approx(2000 / 3, abs=84)
    assert seen[7] == drawn(8, state)
    other = replace(drawn, seed=1)
    assert [other(step, state) for step in range(1, 101)] != seen[:100]
    assert drawn(1, {"first": 0.0, "norm": 1.0}) == 1.0
    assert drawn(1, {"first": 1.0, "norm": 0.0}) == 0.0


def test_controllers_say_what_they_read() -> None:
    assert RewardGap().needs == {"reward"}
    assert RewardGap().needs_rollouts
    assert EntropyTarget().needs_at(7) == {"entropy"}
    assert EntropyTarget().needs_rollouts
    assert Gac(total_steps=9).needs_rollouts
    assert not GradientRatio(total_steps=9).needs_rollouts


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RewardGap(tau=1.5), "schedule.tau=1.5: must be within [0, 1]"),
        (lambda: RewardGap(ema=1.0), "schedule.ema=1.0: must be within [0, 1)"),
        (lambda: EntropyTarget(rate=-1), "schedule.rate=-1: must be at least 0"),
        (lambda: EntropyTarget(target=float("nan")), "schedule.target=nan: must be at least 0"),
        (
            lambda: EntropyTarget(low=0.8, high=0.2),
            "schedule.low=0.8: must be at most schedule.high=0.2",
        ),
        (
            lambda: EntropyTarget(initial=0.1, low=0.2),
            "schedule.initial=0.1: must be within [0.2, 1.0], schedule.low and schedule.high",
        ),
        (lambda: Gac(balance=2, total_steps=9), "schedule.balance=2: must be within [0, 1]"),
        (lambda: Gac(ema=1.0, total_steps=9), "schedule.ema=1.0: must be within [0, 1)"),
        (lambda: Gac(cap=0.0, total_steps=9), "schedule.cap=0.0: must be within (0, 1]"),
        (lambda: Gac(every=0, total_steps=9), "schedule.every=0: must be at least 1"),
        (lambda: Gac(trim=0.5, total_steps=9), "schedule.trim=0.5: must be within [0, 0.5)"),
        (lambda: Gac(peak=1.1, total_steps=9), "schedule.peak=1.1: must be within [0, 1]"),
        (lambda: Gac(total_steps=0), "schedule.total_steps=0: must be at least 1"),
        (
            lambda: GradientRatio(gamma=-1, total_steps=9),
            "schedule.gamma=-1: must be at least 0",
        ),
        (
            lambda: GradientRatio(warmup=1.5, total_steps=9),
            "schedule.warmup=1.5: must be a share of the run in [0, 1) "
            "or a whole number of steps >= 1",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    build: Callable[[], Controller], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == message
