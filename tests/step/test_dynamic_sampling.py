"""Rounds of problems until the batch is full of groups with a signal; one is plain sampling."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from steps import PAIRED, module_of, plan_gradient

from chord.config.root import TrainConfig
from chord.data.batch import collate
from chord.models.scoring import scatter
from chord.rewards import Grade
from chord.rollout.sampling import draw_uniforms, sample
from chord.step.module import ChordModule
from chord.step.terms import kl_in_reward

Build = Callable[..., TrainConfig]


def drawing(module: ChordModule, rounds: list[str], telling: str, *, size: int = 2) -> list[int]:
    """Rounds draw the problems a, b, ...; those in `telling` have right and wrong answers.

    Returns the rounds that are asked for, as they are.
    """
    problems = dict(zip("abcdef", (p.problem for p in module.data.expert_pairs), strict=False))
    asked: list[int] = []

    def draw(step: int, seed: int, n: int) -> list[Any]:
        asked.append(n // size - 1)
        return [problems[name] for name in "".join(rounds)[:n]]

    turns = itertools.count()
    keys = {problems[name].key for name in telling}
    module.data.problems = draw  # type: ignore[method-assign]

    def graded(problems: Any, *given: Any) -> list[Grade]:
        scores = [float(p.key in keys and next(turns) % 2) for p in problems]
        return [Grade(score, score) for score in scores]

    module.config.reward.judged = graded  # type: ignore[method-assign]
    return asked


def names(module: ChordModule, rollouts: Any) -> str:
    keys = [pair.problem.key for pair in module.data.expert_pairs[:6]]
    return "".join("abcdef"[keys.index(problem.key)] for problem in rollouts.group_problems)


@pytest.mark.parametrize(
    ("rounds", "telling", "resample", "kept", "asked"),
    [
        # b of the first round; the second has two more, one fills the batch.
        (["ab", "ac", "de"], "abc", 2, "ab", [0]),
        (["ab", "ac", "de"], "bce", 2, "bc", [0, 1]),
        (["ab", "ac", "de"], "be", 2, "be", [0, 1, 2]),
        (["ab", "cd", "ef"], "bcd", 2, "bc", [0, 1]),
        # The rounds are over before the batch is full.
        (["ab", "ac", "de"], "c", 2, "c", [0, 1, 2]),
        (["ab", "ac", "de"], "e", 1, "ac", [0, 1]),
        # No group tells anything: the last round stands for the step.
        (["ab", "ac", "de"], "", 2, "de", [0, 1, 2]),
        # One round is taken as it is.
        (["ab", "ac"], "b", 0, "ab", [0]),
    ],
)
def test_groups_with_a_signal_are_kept_until_the_batch_is_full(
    small_config: Build, rounds: list[str], telling: str, resample: int, kept: str, asked: list[int]
) -> None:
    module = module_of(small_config(*PAIRED, f"objective.resample={resample}", "schedule=rl_only"))
    seen = drawing(module, rounds, telling)
    plan = module.plan(0)
    assert plan.rollouts is not None
    assert names(module, plan.rollouts) == kept
    assert seen == asked
    assert plan.rollouts.rounds == len(asked)
    assert plan.rollouts.scores.shape == plan.rollouts.rewards.shape == (len(kept), 2)
    assert len(plan.rollouts.texts) == 2 * len(kept)
    found = plan_gradient(module, plan)
    assert torch.isfinite(found).all()
    assert bool(found.any()) == any(name in telling for name in kept)


def test_a_problem_drawn_again_in_a_later_round_gets_other_answers(small_config: Build) -> None:
    module = module_of(small_config(*PAIRED, "objective.resample=2"))
    drawing(module, ["aa", "aa", "ab"], "")
    texts = [
        answer.text
        for redraw in range(3)
        for group in module.collect.round(0, redraw)
        if group.problem.key == module.data.expert_pairs[0].problem.key
        for answer in group.answers
    ]
    assert len(texts) == len(set(texts)) == 10


@pytest.mark.parametrize("pairing", ["separate", "paired"])
def test_asking_for_more_problems_leaves_the_first_ones_as_they_are(
    small_config: Build, pairing: str
) -> None:
    data = module_of(small_config(f"data.pairing={pairing}")).data
    many = [problem.key for problem in data.problems(3, 0, 24)]
    assert many[:8] == [problem.key for problem in data.problems(3, 0, 8)]
    assert len({tuple(many[start : start + 8]) for start in (0, 8, 16)}) == 3


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "rollout.temperature=.7 advantage.baseline=batch advantage.scale=whiten",
        "data.pairing=paired rollout.problems=5 rollout.group_size=3",
        "trainer.precision=64-true objective.kl.coef=.5 objective.kl.where=reward "
        "objective.kl.estimator=k1",
    ],
)
def test_one_round_is_one_call_of_sample_bit_for_bit(small_config: Build, settings: str) -> None:
    # All that came later (stages, rounds, the expert) must leave plain rollouts as they were.
    config = small_config(*settings.split())
    module = module_of(config)
    config.reward.reward = lambda problem, text: float(len(text))  # type: ignore[method-assign]
    rollout, tokenizer = config.rollout, module.data.tokenizer
    for step in (0, 7):
        found = module.collect(step)
        problems = module.data.problems(step, config.seed, rollout.problems)
        prompts = [tokenizer.encode(problem.prompt) for problem in problems]
        samples = sample(
            module.policy,
            prompts,
            group_size=rollout.group_size,
            max_new_tokens=rollout.max_new_tokens,
            temperature=rollout.temperature,
            uniforms=draw_uniforms(
                config.seed,
                step,
                keys=[problem.key for problem in problems],
                group_size=rollout.group_size,
                max_new_tokens=rollout.max_new_tokens,
            ),
            stop_ids=tokenizer.stop_ids,
            pad_id=tokenizer.pad_id,
        )
        rows = collate(
            [prompt for prompt in prompts for _ in range(rollout.group_size)],
            samples.responses,
            pad_id=tokenizer.pad_id,
        )
        texts = [tokenizer.decode(response) for response in samples.responses]
        done = zip(texts, samples.finished, strict=True)
        rewards = torch.tensor([len(t) if end else 0 for t, end in done], dtype=torch.float64)
        kl = config.objective.kl
        if kl.coef > 0:
            rewards -= kl_in_reward(module.models, rows, kl, temperature=rollout.temperature)
        advantages = config.advantage(rewards.reshape(rollout.problems, rollout.group_size))
        assert torch.equal(found.rows.tokens.input_ids, rows.input_ids)
        assert torch.equal(found.rows.tokens.mask, rows.mask)
        assert torch.equal(found.rows.sampler_logprobs, scatter(samples.logprobs, rows.mask))
        assert torch.equal(found.observed.entropies, samples.entropies)
        dtype = found.rows.advantages.dtype
        assert torch.equal(found.rows.advantages, advantages.flatten().to(dtype))
        assert found.texts == texts
        assert found.rows.expert is None
