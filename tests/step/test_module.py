"""The training step as a whole: dropout, rewards, KL in the reward, the branches alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import SIGNAL
from lightning.pytorch import seed_everything
from torch import nn

from chord.config.root import TrainConfig
from chord.data.batch import Problem
from chord.evaluation import report as evaluation
from chord.rewards import Verifier
from chord.run.build import build_data, build_models
from chord.run.steps import StepLoader
from chord.step.module import ChordModule

Build = Callable[..., TrainConfig]


def module_of(config: TrainConfig) -> ChordModule:
    seed_everything(config.seed, verbose=False)
    return ChordModule(config, build_data(config), build_models(config))


def fitted(module: ChordModule) -> ChordModule:
    config = module.config
    steps = config.steps * config.rollout.updates
    config.trainer.build(max_steps=steps, callbacks=[]).fit(module, StepLoader(config.steps))
    return module


class Dropping(nn.Module):
    """A head with dropout before it."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.drop = nn.Dropout(0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.drop(features))
        return out


def test_dropout_is_off_in_rollouts_and_ratios(small_config: Build) -> None:
    module = module_of(small_config("schedule=rl_only"))
    module.policy.head = Dropping(module.policy.head)  # type: ignore[assignment]
    assert fitted(module).metrics["rl/ratio"] == pytest.approx(1, abs=1e-6)
    assert module.metrics["rl/logprob_gap"] < 1e-5


def test_a_second_update_on_the_same_rollouts_moves_the_ratio(small_config: Build) -> None:
    config = small_config("rollout.updates=2", "optimizer.lr=1e-2", "schedule=rl_only", "steps=1")
    module = module_of(config)
    # Untrained models are never right: reward them by length, so that there is something to learn.
    module.config.reward.reward = lambda problem, text: float(len(text))  # type: ignore[method-assign]
    assert abs(fitted(module).metrics["rl/ratio"] - 1) > 1e-6


def test_alpha_one_is_plain_imitation_and_alpha_zero_plain_rl(small_config: Build) -> None:
    # The mix is written out: at the ends the other branch's settings must not matter.
    one = fitted(module_of(small_config("schedule=sft_only", "rollout.temperature=.5")))
    two = fitted(module_of(small_config("schedule=sft_only", "objective=reinforce")))
    assert one.metrics == two.metrics
    three = fitted(module_of(small_config("schedule=rl_only", "weighting=phi", SIGNAL)))
    four = fitted(module_of(small_config("schedule=rl_only", "weighting=uniform", SIGNAL)))
    assert three.metrics == four.metrics
    assert three.metrics["grad/norm"] > 1e-3


def test_kl_in_the_reward_lowers_it_by_the_sum_over_the_answer(small_config: Build) -> None:
    plain = module_of(small_config("trainer.precision=64-true"))
    penal = module_of(
        small_config(
            "trainer.precision=64-true",
            "objective.kl.coef=0.5",
            "objective.kl.to=teacher",
            "objective.kl.where=reward",
            "objective.kl.estimator=k1",
        )
    )
    before, after = plain.collect(0), penal.collect(0)
    assert before.texts == after.texts
    batch = before.rows.tokens
    teacher = penal.models.teacher
    assert teacher is not None
    with torch.no_grad():
        logprobs = teacher(batch.input_ids)[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1) * batch.mask
    k1 = (before.rows.sampler_logprobs - chosen).sum(dim=1).reshape(before.rewards.shape)
    torch.testing.assert_close(after.rewards, before.rewards - 0.5 * k1)
    assert after.metrics()["rl/kl"] == pytest.approx(float(k1.sum() / batch.mask.sum()))


def test_rollouts_repeat_and_depend_on_the_step(small_config: Build) -> None:
    module = module_of(small_config())
    assert module.collect(3).texts == module.collect(3).texts
    assert module.collect(3).texts != module.collect(4).texts


def test_an_unfinished_answer_scores_nothing(small_config: Build) -> None:
    module = module_of(small_config("rollout.max_new_tokens=1"))
    module.config.reward.score = lambda problem, text: float(bool(text))  # type: ignore[method-assign]
    rollouts = module.collect(0)
    cut = torch.tensor([not done for done in rollouts.finished])
    assert cut.any()
    assert not rollouts.scores.flatten()[cut].any()


class Lenient(Verifier):
    """Takes whatever is written for right, also nothing at all."""

    def score(self, problem: Problem, response: str) -> float:
        return 1.0


def test_a_cut_answer_is_wrong_in_rollouts_and_evaluations_whatever_the_scorer_says(
    small_config: Build,
) -> None:
    module = module_of(small_config("rollout.max_new_tokens=4", "rollout.problems=8"))
    module.config.reward = Lenient()
    rollouts = module.collect(0)
    finished = torch.tensor(rollouts.finished, dtype=torch.float64)
    assert 0 < finished.sum() < len(finished)
    assert torch.equal(rollouts.scores.flatten(), finished)
    assert torch.equal(rollouts.rewards.flatten(), finished)
    problems = module.data.validation[:20]
    answers = evaluation.answer(
        module.policy, module.data, problems, Lenient(), max_new_tokens=4, samples=2
    )
    assert {each.score for each in answers} == {0.0, 1.0}
    # With four characters it was cut off; with fewer than four tokens it was ended.
    assert not any(each.score for each in answers if len(each.text) == 4)
    assert all(each.score for each in answers if len(each.entropies) < 4)
