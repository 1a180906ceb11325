"""The step on one page is the step of the module."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import compose_config
from steps import gradient, module_of, plan_gradient

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.testbed import Testbed

PAGE = Path(__file__).parents[1] / "docs" / "one_step.py"


@pytest.fixture
def one_step() -> ModuleType:
    spec = importlib.util.spec_from_file_location("one_step", PAGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("step", [0, 7])
def test_the_page_has_the_gradient_of_the_training_step(one_step: ModuleType, step: int) -> None:
    config = parse(compose_config("weighting=phi", "trainer.precision=64-true"), TrainConfig)
    module = module_of(config)
    plan = module.plan(step)
    assert plan.rollouts is not None
    assert plan.rollouts.observed.scores.std() > 0  # the RL branch has a gradient
    expected = plan_gradient(module, plan, step)
    module.policy.zero_grad()
    assert isinstance(module.data, Testbed)
    alpha, _, _ = one_step.add_gradient(module.policy, module.data, step)
    assert alpha == plan.alpha
    torch.testing.assert_close(gradient(module.policy), expected, rtol=1e-9, atol=1e-12)


def test_the_page_can_be_taken_in_at_one_sitting_and_runs() -> None:
    assert len(PAGE.read_text().splitlines()) <= 120
    done = subprocess.run([sys.executable, PAGE], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("alpha 0.900  sft ")
