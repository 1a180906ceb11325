"""An optimizer of its own for the SFT branch: two clipped steps, and updates counted once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from steps import module_of, with_scores
from torch import Tensor

from chord.config.root import TrainConfig
from chord.run.steps import StepLoader
from chord.schedules.mixes import Shares
from chord.step.module import ChordModule
from chord.step.rl import add_rl_gradient
from chord.step.sft import add_sft_gradient

Build = Callable[..., TrainConfig]
SECOND = ("trainer.precision=64-true", "optimizer@sft_optimizer=adamw", "sft_optimizer.lr=3e-3")
# Both clips bind: the branches' norms are above them.
OWN = ("optimizer.warmup=0", "sft_optimizer.warmup=2", "sft_optimizer.clip_norm=.02")
BOTH = ("optimizer.lr=1e-3", "optimizer.clip_norm=.01", *OWN)


def fitted(config: TrainConfig) -> tuple[ChordModule, list[dict[str, float]], Any]:
    """A run by Lightning with the first answer of each group right; also every step's metrics."""
    module = module_of(config)
    del module.manual_backward
    collect = module.collect

    def scored(step: int) -> Any:
        rollouts = collect(step)
        table = [[1.0, 0.0] for _ in rollouts.group_problems]
        return with_scores(rollouts, config.advantage, table)

    module.collect = scored  # type: ignore[assignment]
    rows: list[dict[str, float]] = []
    update = module.update

    def remember(step: int, plan: Any) -> Any:
        seen = update(step, plan)
        rows.append(dict(module.metrics))
        return seen

    module.update = remember  # type: ignore[method-assign]
    trainer = config.trainer.build(max_steps=config.steps * config.rollout.updates, callbacks=[])
    trainer.fit(module, StepLoader(config.steps))
    return module, rows, trainer


def weights(module: ChordModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.policy.parameters()])


def by_hand(
    config: TrainConfig, shares: Callable[[int], Shares]
) -> tuple[Tensor, list[tuple[float, float]]]:
    """The same run with two AdamW of torch's; the norms before clipping of RL and SFT."""
    module = module_of(config)
    models, rollout = module.models, config.rollout
    policy, norms = models.policy, []
    first, second = (
        torch.optim.AdamW(policy.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
        for _ in range(2)
    )
    for step in range(config.steps):
        share = shares(step)
        stream = module.imitation.stream(step)
        sampled = module.collect(step)
        table = [[1.0, 0.0] for _ in sampled.group_problems]
        rollouts = with_scores(sampled, config.advantage, table)
        for _ in range(rollout.updates):
            norm = [0.0, 0.0]
            if share.rl > 0:
                policy.zero_grad()
                seen = add_rl_gradient(
                    models,
                    rollouts.rows,
                    config.objective,
                    config.weighting,
                    share=share.rl,
                    temperature=1.0,
                    max_length=rollout.max_new_tokens,
                )
                if rollouts.rows.old_logprobs is None:
                    rollouts.rows.old_logprobs = seen.table
                norm[0] = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.01))
                first.param_groups[0]["lr"] = 1e-3
                first.step()
            if share.sft > 0:
                # Of the policy as RL has left it.
                policy.zero_grad()
                add_sft_gradient(models, stream, config.weighting, share=share.sft)
                norm[1] = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.02))
                second.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 2)
                second.step()
            norms.append((norm[0], norm[1]))
    return weights(module), norms


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ("schedule=constant schedule.value=.3", lambda step: Shares(0.3, 0.7)),
        (
            "schedule=constant schedule.value=.3 mix=additive mix.coef=.5",
            lambda step: Shares(0.15, 1.0),
        ),
        (
            "schedule=periodic schedule.period=2",
            lambda step: Shares(float(step % 2), float(step % 2 == 0)),
        ),
    ],
    ids=["convex", "additive", "periodic"],
)
def test_each_branch_is_clipped_and_stepped_by_its_own_optimizer(
    small_config: Build, settings: str, shares: Callable[[int], Shares], updates: int
) -> None:
    config = small_config(
        *SECOND, *BOTH, "steps=4", f"rollout.updates={updates}", *settings.split()
    )
    expected, norms = by_hand(copy.deepcopy(config), shares)
    module, rows, trainer = fitted(config)
    torch.testing.assert_close(weights(module), expected, atol=1e-12, rtol=0)
    for row, (rl, sft) in zip(rows, norms, strict=True):
        for name, norm, clip in (("grad/norm", rl, 0.01), ("grad/sft_norm", sft, 0.02)):
            if norm:
                assert norm > clip
                assert row[name] == pytest.approx(norm, abs=1e-9)
    # An update is one step to Lightning, whether it was one branch's or both's.
    assert trainer.global_step == 4 * updates


def test_an_additive_mix_adds_a_part_of_imitation_to_all_of_rl(small_config: Build) -> None:
    module = module_of(
        small_config(
            "trainer.precision=64-true",
            *("mix=additive", "mix.coef=.5", "schedule=constant", "schedule.value=.3"),
        )
    )
    plan = module.plan(0)
    assert plan.shares == pytest.approx((0.15, 1.0))
    module.zero_gradients()
    module.add_sft(plan)
    sft = [p.grad.clone() for p in module.policy.parameters() if p.grad is not None]
    module.add_gradients(0, plan)
    both = [p.grad.clone() for p in module.policy.parameters() if p.grad is not None]
    module.zero_gradients()
    assert plan.rollouts is not None
    add_rl_gradient(
        module.models,
        plan.rollouts.rows,
        module.config.objective,
        module.config.weighting,
        share=1.0,
        temperature=1.0,
        max_length=12,
    )
    rl = [p.grad.clone() for p in module.policy.parameters() if p.grad is not None]
    module.zero_gradients()
    assert plan.experts is not None
    add_sft_gradient(module.models, plan.experts, module.config.weighting, share=1.0)
    plain = [p.grad for p in module.policy.parameters() if p.grad is not None]
    for together, imitation, own, whole in zip(both, sft, rl, plain, strict=True):
        torch.testing.assert_close(imitation, 0.15 * whole, atol=1e-12, rtol=0)
        torch.testing.assert_close(together, 0.15 * whole + own, atol=1e-12, rtol=0)
