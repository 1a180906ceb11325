"""Two numbers of an answer, the verdict and the reward, and a KL penalty beside them in a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import compose_config
from steps import module_of
from vectors import f64

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.rewards import Grade

Build = Callable[..., TrainConfig]
PENALISED = (
    "trainer.precision=64-true",
    "rollout.group_size=4",
    "objective.kl.to=teacher",
    "objective.kl.where=reward",
    "objective.kl.estimator=k1",
)
BRIEF = (
    "reward=weighted",
    "reward@reward.parts.answer=exact",
    "~reward@reward.parts.format",
    "~reward.weights.format",
    "+reward@reward.parts.brief=length",
    "+reward.weights.brief=.2",
)


@pytest.mark.parametrize(
    "settings",
    [
        "advantage=grpo",
        "advantage=dr_grpo",
        "advantage=rloo",
        "advantage=reinforce++",
        "advantage=reinforce",
        "advantage=reinforce advantage.scale=batch",
        "advantage.baseline=none advantage.scale=group",
        "advantage=srft",
    ],
)
def test_the_coefficient_of_a_kl_in_the_reward_counts_where_scores_are_equal(
    small_config: Build, settings: str
) -> None:
    # An untrained model is never right: all scores are 0, and A = -coef (KL - its baseline), but
    # for -1 of a wrong answer with `srft`.
    module = module_of(small_config(*PENALISED, *settings.split(), "objective.kl.coef=1"))
    found = []
    for coef in (0.001, 0.05, 10.0):
        module.config.objective.kl.coef = coef
        rollouts = module.collect(0)
        assert not rollouts.scores.any()
        penalty = -rollouts.rewards
        means = penalty.mean(dim=1, keepdim=True)
        if "rloo" in settings:
            means = (penalty.sum(dim=1, keepdim=True) - penalty) / 3
        elif settings.startswith("advantage=reinforce") and "++" not in settings:
            means = penalty.mean()
        elif "none" in settings:
            means = torch.zeros(())
        signed = 1.0 if "srft" in settings else 0.0
        wanted = (means - penalty).flatten() - signed
        torch.testing.assert_close(rollouts.rows.advantages, wanted, rtol=1e-12, atol=1e-12)
        found.append(rollouts.rows.advantages + signed)
    assert found[0].abs().mean() > 1e-4
    torch.testing.assert_close(found[0] * 50, found[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[1] * 200, found[2], rtol=1e-9, atol=1e-9)


def test_scores_are_divided_by_their_own_spread_whatever_the_penalty(small_config: Build) -> None:
    # One right of four: 3/4 and -1/4 over 1/2 + 1e-6, less the centred penalty.
    module = module_of(small_config(*PENALISED, "objective.kl.coef=5", "rollout.problems=1"))
    grades = [Grade(score, score) for score in (0.0, 1.0, 0.0, 0.0)]
    module.config.reward.grade = lambda *answers: grades  # type: ignore[method-assign]
    rollouts = module.collect(0)
    penalty = rollouts.scores - rollouts.rewards
    plain = f64([[-0.25, 0.75, -0.25, -0.25]]) / 0.500001
    wanted = plain - (penalty - penalty.mean())
    assert penalty.std() > 0.1
    torch.testing.assert_close(rollouts.rows.advantages, wanted.flatten(), rtol=0, atol=1e-12)


def shipped(*settings: str) -> Any:
    return module_of(parse(compose_config("tracking=off", *settings), TrainConfig))


def test_a_right_answer_that_lost_something_for_its_length_is_right() -> None:
    # On the test bed 23 of 168 own answers are right, one of them at a reward of .84.
    rollouts = shipped("experiment=srft", *BRIEF).collect(0)
    own = slice(0, 7)
    scores, rewards = rollouts.scores[:, own], rollouts.rewards[:, own]
    advantages = rollouts.rows.advantages.reshape(24, 8)[:, own]
    right = scores >= 1
    assert int(right.sum()) == 23
    assert int((right & (rewards < 1)).sum()) == 1
    assert bool((advantages[right] > 0.1).all())
    assert bool((advantages[~right] == -1).all())
