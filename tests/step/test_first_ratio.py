"""The ratio of a clipped objective is taken to the training pass, never to what sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import make_model
from steps import PAIRED, gradient, module_of
from test_module import fitted

from chord.config.root import TrainConfig
from chord.rollout import RolloutConfig
from chord.rollout.mismatch import truncated_weights
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule
from chord.step.plan import Plan
from chord.step.rows import TokenLog, first_seen

Build = Callable[..., TrainConfig]
MIXED = ("trainer.precision=bf16-mixed", "schedule=rl_only", "teacher=none")
GROUP = ("rollout.group_size=4", "rollout.max_new_tokens=16")


def mixed() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def first_update(module: ChordModule, step: int = 0) -> tuple[Plan, TokenLog, dict[str, float]]:
    with mixed():
        plan = module.plan(step)
        assert plan.rollouts is not None
        # An untrained model is never right, and there has to be something to learn.
        rows = plan.rollouts.rows
        rows.advantages = torch.ones_like(rows.advantages)
        rows.advantages[::2] = -1.0
        module.zero_gradients()
        seen = module.add_rl(plan)
    assert seen is not None
    return plan, seen, branch_metrics(plan.shares, None, seen)


@pytest.mark.parametrize("model", ["tiny", "llama"])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_the_ratio_of_the_first_update_is_one_in_bfloat16(
    small_config: Build, tmp_path: Path, model: str, size: int
) -> None:
    # What was sampled with a cache has other log-probabilities, and the clips of gspo are so narrow
    # that rounding alone would cut off tokens of larger models.
    settings = [*MIXED, *GROUP, "objective=gspo", f"trainer.micro_batch={size}"]
    if model == "llama":
        settings += ["model=hf", f"model.path={make_model(tmp_path / 'm')}"]
    module = module_of(small_config(*settings))
    plan, _, metrics = first_update(module)
    assert metrics["rl/ratio"] == 1.0
    assert metrics["rl/clip_fraction"] == 0.0
    assert metrics["rl/approx_kl"] == 0.0
    assert metrics["rl/logprob_gap"] > 1e-5
    found = gradient(module.policy)
    assert found.norm() > 0
    # With wide clips it is the same gradient: none of it was cut off.
    module.config.objective.clip_low = module.config.objective.clip_high = 0.9  # type: ignore[attr-defined]
    assert plan.rollouts is not None
    plan.rollouts.rows.old_logprobs = None
    module.zero_gradients()
    with mixed():
        module.add_rl(plan)
    assert torch.equal(gradient(module.policy), found)


@pytest.mark.parametrize(
    "settings",
    ["", "objective.overlong=mask", "rollout.prefix=uniform data.pairing=paired"],
)
def test_later_updates_are_compared_with_the_pass_of_the_first(
    small_config: Build, settings: str
) -> None:
    module = module_of(small_config(*MIXED, *GROUP, *settings.split(), "trainer.micro_batch=3"))
    plan, seen, _ = first_update(module)
    assert plan.rollouts is not None
    plan.rollouts = first_seen(plan.rollouts, seen)
    with mixed():
        again = module.add_rl(plan)
    assert again is not None
    assert again.sums["ratio"] == sum(part.numel() for part in again.logprobs)
    # The policy moves: r = exp(log p - log p_old), token by token.
    with torch.no_grad():
        for parameter in module.policy.parameters():
            parameter *= 1.05
    with mixed():
        moved = module.add_rl(plan)
    assert moved is not None
    now, before = torch.cat(moved.logprobs), torch.cat(seen.logprobs)
    ratios = (now - before).double().exp()
    assert float((ratios - 1).abs().mean()) > 1e-3
    assert moved.sums["ratio"] == pytest.approx(float(ratios.sum()), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_a_run_logs_how_far_sampling_is_from_training(small_config: Build, precision: str) -> None:
    config = small_config(
        f"trainer.precision={precision}",
        "rollout.updates=2",
        "objective.entropy_coef=.1",  # an untrained model is never right
        "schedule=rl_only",
        "optimizer.lr=.01",
        "optimizer.warmup=0",
    )
    kept: list[Any] = []
    module = module_of(config)
    add = module.add_rl

    def seen(plan: Plan) -> TokenLog | None:
        kept.append(add(plan))
        return kept[-1]

    module.add_rl = seen  # type: ignore[method-assign]
    del module.manual_backward
    metrics = fitted(module).metrics
    # Of the last step: its first update, whatever the second has moved since.
    first = kept[-2]
    gaps = (torch.cat(first.logprobs) - torch.cat(first.sampled)).double().abs()
    assert metrics["rollout/mismatch_mean"] == pytest.approx(float(gaps.mean()), rel=1e-6)
    assert metrics["rollout/mismatch_max"] == pytest.approx(float(gaps.max()), rel=1e-6)
    assert (metrics["rollout/mismatch_mean"] > 1e-7) == (precision == "bf16-mixed")
    assert "rollout/correction_mean" not in metrics
    assert metrics["rl/ratio"] != 1.0


def test_what_the_policy_has_sampled_is_corrected_on_request_only(small_config: Build) -> None:
    plain, _, _ = first_update(module_of(small_config(*MIXED, *GROUP)))
    assert plain.rollouts is not None
    assert plain.rollouts.rows.correction is None
    module = module_of(
        small_config(
            *MIXED, *GROUP, "rollout.correct_native=true", "rollout.correction_threshold=0"
        )
    )
    plan, seen, metrics = first_update(module)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    assert rows.correction is not None
    assert rows.sampler_logprobs is not None
    assert seen.table is not None
    weights = truncated_weights(seen.table, rows.sampler_logprobs, cap=2.0)
    mask = rows.tokens.mask
    # The weights come from a pass of their own over the same pieces.
    torch.testing.assert_close(rows.correction[mask], weights[mask], rtol=1e-6, atol=0)
    assert float((rows.correction[mask] - 1).abs().max()) > 1e-6
    assert metrics["rl/ratio"] == 1.0
    assert plan.rollouts.mismatch["rollout/correction_mean"] == pytest.approx(
        float(weights[mask].double().mean()), rel=1e-6
    )


def test_a_correction_of_the_policys_own_sampling_needs_it() -> None:
    with pytest.raises(ValueError, match=r"^rollout\.correct_native=True: needs .*engine=native;"):
        RolloutConfig(correct_native=True, engine="hf")


def test_an_experts_tokens_have_no_ratio_and_no_mismatch(small_config: Build) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, "schedule=rl_only", "rollout.prefix=uniform"))
    plan = module.plan(0)
    seen = module.add_rl(plan)
    assert plan.rollouts is not None
    assert seen is not None
    rows = plan.rollouts.rows
    assert rows.expert is not None
    assert rows.sampler_logprobs is not None
    assert seen.table is not None
    own = rows.tokens.mask & ~rows.expert
    assert torch.equal(seen.table != 0, own)
    torch.testing.assert_close(seen.table, rows.sampler_logprobs, atol=1e-9, rtol=0)
