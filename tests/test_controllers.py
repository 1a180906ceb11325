"""Controllers: trajectories by hand, bounds for any feedback, and a state that a file can hold."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chord.schedules import Controller, EntropyTarget, Feedback, RewardGap, State

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


def test_controllers_say_what_they_read() -> None:
    assert RewardGap().needs == {"reward"}
    assert RewardGap().needs_rollouts
    assert EntropyTarget().needs_at(7) == {"entropy"}
    assert EntropyTarget().needs_rollouts


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
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    build: Callable[[], Controller], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the whole message is compared)
        build()
    assert str(error.value) == message
