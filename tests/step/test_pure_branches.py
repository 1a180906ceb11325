"""alpha = 0 is RL and alpha = 1 imitation, bit for bit, under every mix, target and gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from steps import gradient, module_of, plan_gradient, score_as
from torch import Tensor

from chord.config.root import TrainConfig
from chord.step.module import ChordModule
from chord.step.rl import add_rl_gradient
from chord.step.sft import add_sft_gradient

Build = Callable[..., TrainConfig]
MIXES = ["convex", "additive"]
TARGETS = ["tokens", "soft", "reverse_kl", "jsd"]


def module_with(build: Build, *settings: str) -> ChordModule:
    module = module_of(build(*settings))
    score_as(module, lambda step: [[1, 0], [0, 1]])
    return module


def reinforcement(module: ChordModule, step: int) -> Tensor:
    module.zero_gradients()
    add_rl_gradient(
        module.models,
        module.collect(step).rows,
        module.config.objective,
        module.config.weighting,
        share=1.0,
        temperature=1.0,
        max_length=12,
    )
    return gradient(module.policy).clone()


def imitation(module: ChordModule, step: int) -> Tensor:
    target = module.config.target
    own = target.on_own_samples(module.config.seed, step)
    rows = module.imitation.own(module.collect(step)) if own else module.imitation.stream(step)
    module.zero_gradients()
    add_sft_gradient(module.models, rows, module.config.weighting, share=1.0, target=target)
    return gradient(module.policy).clone()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("mix", MIXES)
def test_alpha_zero_is_rl_alone(small_config: Build, mix: str, target: str) -> None:
    module = module_with(small_config, "schedule=rl_only", f"mix={mix}", f"target={target}")
    for step in (0, 3):
        plan = module.plan(step)
        assert plan.experts is None
        found = plan_gradient(module, plan)
        assert found.any()
        assert torch.equal(found, reinforcement(module, step))


@pytest.mark.parametrize("gate", ["solve_rate", "all_wrong_buffer"])
def test_a_gate_that_finds_nothing_leaves_rl_alone(small_config: Build, gate: str) -> None:
    module = module_with(
        small_config, "schedule=rl_only", "data.pairing=paired", f"gate={gate}", "target=tokens"
    )
    plan = module.plan(0)
    assert plan.experts is None
    assert torch.equal(plan_gradient(module, plan), reinforcement(module, 0))


@pytest.mark.parametrize("target", TARGETS)
def test_alpha_one_is_imitation_alone(small_config: Build, target: str) -> None:
    module = module_with(small_config, "schedule=sft_only", f"target={target}")
    for step in (0, 1, 2, 3):
        plan = module.plan(step)
        own = module.config.target.on_own_samples(module.config.seed, step)
        assert (plan.rollouts is not None) == own
        found = plan_gradient(module, plan)
        assert found.any()
        assert torch.equal(found, imitation(module, step))


@pytest.mark.parametrize("target", TARGETS)
def test_with_an_additive_mix_alpha_one_is_their_sum(small_config: Build, target: str) -> None:
    module = module_with(
        small_config,
        *("trainer.precision=64-true", "schedule=sft_only", "mix=additive", f"target={target}"),
    )
    found = plan_gradient(module, module.plan(0))
    both = imitation(module, 0) + reinforcement(module, 0)
    torch.testing.assert_close(found, both, atol=1e-14, rtol=0)
