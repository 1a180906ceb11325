"""A step on two processes is the step of one: its rollouts, its gradient, its metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIGNAL, SMALL, compose_config, small_composed
from language_models import in_double, make_model
from steps import module_of, on_two_ranks, sharded
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.distributed.collectives import joined, part_of, rank
from chord.distributed.strategies import (
    free,
    gradient_norm,
    local,
    scale_gradients,
    whole_weights,
)
from chord.models.hf.policy import HFPolicy
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule

# Three problems and five expert rows, in pieces of two: no rank has as much as the other.
STEP = (
    "trainer.precision=64-true",
    "schedule=constant",
    "schedule.value=.5",
    "rollout.problems=3",
    "rollout.group_size=3",
    "data.expert_batch=5",
    "trainer.micro_batch=2",
    SIGNAL,
)
RULES: dict[str, tuple[str, ...]] = {
    "chord": ("weighting=phi",),
    "ranking": ("weighting=top_entropy", "weighting.apply_to=both", "weighting.normalize=mean1"),
    "kl": ("objective.kl.coef=.1", "objective.kl.where=reward", "advantage=reinforce++"),
    "gate": ("gate=solve_rate", "data.pairing=paired"),
    "engine": ("rollout=hf", "rollout.problems=1"),
    "no expert rows": ("schedule=rl_only", "rollout.problems=1"),
}


def on_first(found: dict[str, float]) -> Tensor:
    """Numbers by name as a tensor, in the order of their names."""
    return torch.tensor([found[name] for name in sorted(found)], dtype=torch.float64)


def step(module: ChordModule) -> list[Tensor]:
    """The metrics of step 0, its gradient, the gradient's norm, and the clipped gradient."""
    plan = module.plan(0)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    # Random weights of a language model never end an answer: no reward tells its answers apart.
    written = (rows.tokens.input_ids * rows.tokens.attention_mask).sum(dim=1)
    rows.advantages = rows.advantages + written % 7 - 3
    module.metrics = {"alpha": plan.alpha, **plan.metrics}
    sft, rl = module.add_gradients(0, plan)
    metrics = module.metrics | branch_metrics(plan.shares, sft, rl, own=plan.own)
    metrics |= plan.rollouts.metrics()
    module.gradients()
    whole = gradient(module)
    norm = gradient_norm(module.trainable())
    scale_gradients(module.trainable(), float(norm) / 2, norm)
    return [on_first(metrics), whole, norm[None], gradient(module)]


def gradient(module: ChordModule) -> Tensor:
    found: list[Any] = [p.grad for p in module.trainable()]
    parts = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in found]
    return torch.cat([part.flatten() for part in parts]).clone()


def exact(config: TrainConfig) -> ChordModule:
    """Sharded or with adapters, transformers computes the layers, with norms in float32."""
    module = module_of(config)
    for model in (module.policy, module.models.reference):
        if isinstance(model, HFPolicy):
            in_double(model)
    return module


def compare(config: TrainConfig, tmp_path: Path, prepare: Callable[[ChordModule], None]) -> None:
    def work(rank: int) -> list[Tensor]:
        module = exact(config)
        prepare(module)
        return step(module)

    alone = step(exact(config))
    assert float(alone[0].norm()) > 0
    for here, there in zip(on_two_ranks(tmp_path, work), alone, strict=True):
        torch.testing.assert_close(here, there, atol=1e-10, rtol=0)


def tiny(small_models: Path, rule: str) -> TrainConfig:
    return parse(small_composed(small_models, *STEP, *RULES[rule]), TrainConfig)


def test_replicas_take_the_step_of_one_process(small_models: Path, tmp_path: Path) -> None:
    compare(tiny(small_models, "chord"), tmp_path, lambda module: None)


def test_shards_take_the_step_of_one_process(small_models: Path, tmp_path: Path) -> None:
    compare(tiny(small_models, "chord"), tmp_path, sharded)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "chord"])
@pytest.mark.parametrize("prepare", [lambda module: None, sharded], ids=["replicas", "shards"])
def test_what_is_compared_is_compared_over_all_processes(
    small_models: Path, tmp_path: Path, rule: str, prepare: Callable[[ChordModule], None]
) -> None:
    compare(tiny(small_models, rule), tmp_path, prepare)


@pytest.mark.slow
@pytest.mark.parametrize("adapters", [(), ("model.lora.rank=2",)], ids=["whole", "adapters"])
@pytest.mark.parametrize("prepare", [lambda module: None, sharded], ids=["replicas", "shards"])
def test_language_models_take_the_step_of_one_process(
    tmp_path: Path, adapters: tuple[str, ...], prepare: Callable[[ChordModule], None]
) -> None:
    path = make_model(tmp_path / "model")
    model = ("model=hf", f"model.path={path}", "teacher=none", "objective.kl.coef=.1", *adapters)
    config = parse(compose_config(*SMALL, *model, *STEP), TrainConfig)
    compare(config, tmp_path, prepare)


def test_shares_are_contiguous_and_join_again(tmp_path: Path) -> None:
    def work(rank_of_test: int) -> list[Tensor]:
        assert rank() == rank_of_test
        sizes = [len(part_of(range(count))) for count in (0, 1, 3)]
        assert sizes == [[0, 1, 2], [0, 0, 1]][rank()]
        assert joined(part_of(["a", "b", "c"])) == ["a", "b", "c"]
        return [torch.tensor([float(sizes[2])])]

    assert on_two_ranks(tmp_path, work)[0].item() == 1.5
    assert list(part_of([1, 2])) == [1, 2]


def test_whole_weights_of_shards_are_those_before_and_outlive_them(
    small_models: Path, tmp_path: Path
) -> None:
    def work(rank: int) -> list[Tensor]:
        module = module_of(tiny(small_models, "chord"))
        before = {name: value.clone() for name, value in module.policy.state_dict().items()}
        sharded(module)
        after = whole_weights(module.policy)
        assert before.keys() == after.keys()
        shards = [local(parameter.detach()) for parameter in module.policy.parameters()]
        assert all(shard.untyped_storage().nbytes() > 0 for shard in shards)
        free(module.policy)
        assert not any(shard.untyped_storage().nbytes() for shard in shards)
        return [(before[name] - after[name]).abs().sum()[None] for name in before]

    assert not any(difference.item() for difference in on_two_ranks(tmp_path, work))
