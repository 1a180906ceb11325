"""Groups without a signal have no backward pass where nothing else learns from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from steps import gradient, module_of, score_as
from torch import Tensor

from chord.config.root import TrainConfig
from chord.models.packing import Packed
from chord.models.transformer import Transformer
from chord.step import module as step_module
from chord.step.rl import add_rl_gradient

Build = Callable[..., TrainConfig]
STEP = ("trainer.precision=64-true", "schedule=rl_only", "rollout.problems=3")
SCORES = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
OTHERS = {
    "weights": ("weighting=margin", "weighting.apply_to=both", "weighting.normalize=mean1"),
    "entropy": ("objective.entropy_coef=.01",),
    "kl": ("objective.kl.coef=.1",),
}


def took(config: TrainConfig, monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[Tensor, Any]:
    """The gradient and the log of a step in which one group in three has a signal."""

    def add(*arguments: Any, **settings: Any) -> Any:
        return add_rl_gradient(*arguments, **settings, **given)

    monkeypatch.setattr(step_module, "add_rl_gradient", add)
    module = module_of(config)
    score_as(module, lambda step: SCORES)
    plan = module.plan(0)
    _, seen = module.add_gradients(0, plan)
    assert seen is not None
    return gradient(module.policy), seen


@pytest.mark.parametrize("size", ["0", "1", "4"])
@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "reinforce"])
def test_nothing_changes_without_the_backward_pass(
    small_config: Build, monkeypatch: pytest.MonkeyPatch, name: str, size: str
) -> None:
    config = small_config(*STEP, f"objective={name}", f"trainer.micro_batch={size}")
    found, seen = took(config, monkeypatch)
    expected, whole = took(config, monkeypatch, skip_idle=False)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)
    assert seen.loss == pytest.approx(whole.loss, rel=1e-9)
    torch.testing.assert_close(seen.table, whole.table, rtol=1e-9, atol=1e-12)
    for one, other in ((seen.logprobs, whole.logprobs), (seen.entropy, whole.entropy)):
        mine, all_of_them = (torch.cat(parts).sort().values for parts in (one, other))
        torch.testing.assert_close(mine, all_of_them, rtol=1e-9, atol=1e-12)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each pass that has a gradient."""
    seen: list[int] = []
    hidden = Transformer.hidden_packed

    def counted(self: Transformer, packed: Packed) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(sum(len(rows) for rows in packed.rows))
        return hidden(self, packed)

    monkeypatch.setattr(Transformer, "hidden_packed", counted)
    return seen


def test_only_rows_with_a_signal_have_a_backward_pass(
    small_config: Build, monkeypatch: pytest.MonkeyPatch, learned: list[int]
) -> None:
    took(small_config(*STEP), monkeypatch)
    assert learned == [2]


@pytest.mark.parametrize("name", OTHERS)
def test_all_rows_learn_where_another_term_does(
    small_config: Build, monkeypatch: pytest.MonkeyPatch, learned: list[int], name: str
) -> None:
    config = small_config(*STEP, *OTHERS[name])
    found, _ = took(config, monkeypatch)
    assert sum(learned) == 6
    expected, _ = took(config, monkeypatch, skip_idle=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_step_without_any_signal_has_no_backward_pass(
    small_config: Build, monkeypatch: pytest.MonkeyPatch, learned: list[int]
) -> None:
    monkeypatch.setattr(f"{__name__}.SCORES", [[1.0, 1.0]] * 3)
    found, seen = took(small_config(*STEP), monkeypatch)
    assert sum(learned) == 0
    assert not found.any()
    assert len(torch.cat(seen.logprobs)) > 0
