"""A train step on a device of its own, simulated: nothing in it meets a tensor of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, compose_config, small_composed
from language_models import make_model
from simulated_device import DEVICE, OnDevice, simulated, to_device
from steps import module_of
from torch import Tensor

from chord.config import TrainConfig, parse
from chord.evaluation import evaluate
from chord.metrics import branch_metrics
from chord.module import ChordModule
from chord.stepping import take_step

STEP = (
    "trainer.diagnostics_every=0",
    "trainer.precision=64-true",
    "schedule=constant",
    "schedule.value=.5",
)
RULES = {
    "chord": ("weighting=phi", "trainer.micro_batch=2"),
    "ranking": ("weighting=top_entropy", "weighting.apply_to=both", "trainer.micro_batch=2"),
    "teacher": ("weighting=adaptive", "target=soft"),
    "kl": ("objective.kl.coef=.1", "objective.kl.where=reward", "advantage=reinforce++"),
    "gate": ("gate=solve_rate", "data.pairing=paired"),
    "expert in group": ("rollout=expert_in_group", "data.pairing=paired", "advantage=luffy"),
    "own samples": ("target=reverse_kl", "rollout.temperature=1.0"),
}


def moved(module: ChordModule) -> ChordModule:
    """All models of a module on the simulated device."""
    for model in (module.models.policy, module.models.teacher, module.models.reference):
        if model is not None:
            to_device(model)
    return module


def numbers(module: ChordModule) -> dict[str, float]:
    """The metrics of a step, with the norm of its gradient, and of an evaluation after it."""
    plan = module.plan(0)
    sft, rl = module.add_gradients(0, plan)
    found = plan.metrics | branch_metrics(plan.shares, sft, rl, own=plan.own)
    assert plan.rollouts is not None
    found |= plan.rollouts.metrics()
    assert plan.rollouts.completions(2)
    config = module.config
    optimizer: Any = config.optimizer.build(module.trainable())
    found |= take_step(optimizer, module.trainable(), clip=1e-2)[0]
    places = {parameter.device for parameter in module.trainable()}
    assert {p.grad.device for p in module.trainable() if p.grad is not None} == places
    moments = [m for state in optimizer.state.values() for m in state.values() if m.dim() > 0]
    assert {moment.device for moment in moments} == places
    report = evaluate(
        module.policy, module.data, config.evaluation, config.reward, split="val", alpha=0.5
    )
    return found | report.metrics


def compare(config: TrainConfig) -> None:
    expected = numbers(module_of(config))
    module = moved(module_of(config))
    with simulated():
        found = numbers(module)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_step_stays_on_its_device(small_models: Path, rule: str) -> None:
    compare(parse(small_composed(small_models, *STEP, *RULES[rule]), TrainConfig))


@pytest.mark.parametrize("adapters", [(), ("model.lora.rank=2",)], ids=["whole", "adapters"])
def test_a_step_of_a_language_model_stays_on_its_device(
    tmp_path: Path, adapters: tuple[str, ...]
) -> None:
    path = make_model(tmp_path / "model")
    model = ("model=hf", f"model.path={path}", "teacher=none", "objective.kl.coef=.1", *adapters)
    compare(parse(compose_config(*SMALL, *model, *STEP), TrainConfig))


def test_the_simulation_refuses_what_a_device_refuses() -> None:
    with simulated():
        here: Tensor = torch.ones(3, device=DEVICE)
        assert isinstance(here, OnDevice)
        assert (here * torch.tensor(2.0)).tolist() == [2, 2, 2]
        assert here[torch.tensor([0])].tolist() == [1]
        with pytest.raises(RuntimeError, match="expected all tensors on"):
            here + torch.ones(3)
        with pytest.raises(RuntimeError, match="expected all tensors on"):
            torch.ones(3)[torch.tensor([0], device=DEVICE)]
