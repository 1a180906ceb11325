"""How many answers are computed at once: never more than asked for, and always the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_composed
from steps import module_of
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.evaluation.report import evaluate
from chord.plan import command
from chord.plan.calibration import calibrate
from chord.rollout.choice import Sampler
from chord.run.directory import RunDirectory
from chord.run.training import train

Build = Callable[..., TrainConfig]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows drew a token, draw by draw."""
    seen: list[int] = []
    draw = Sampler.__call__

    def counted(self: Sampler, logits: Tensor, uniforms: Tensor | None) -> Any:
        seen.append(len(logits))
        return draw(self, logits, uniforms)

    monkeypatch.setattr(Sampler, "__call__", counted)
    return seen


@pytest.mark.parametrize("engine", ["native", "hf"])
def test_rollouts_are_the_same_however_few_are_computed_at_once(
    small_config: Build, sizes: list[int], engine: str
) -> None:
    found = []
    for rows in (256, 3):
        sizes.clear()
        given = [f"rollout.rows_at_a_time={rows}", f"rollout.engine={engine}"]
        module = module_of(small_config("rollout.group_size=4", *given))
        rollouts = module.plan(0).rollouts
        assert rollouts is not None
        found.append(rollouts.rows.tokens.input_ids)
        # Two problems of four answers.
        assert max(sizes) == min(rows, 8)
    assert torch.equal(*found)


def test_an_evaluation_is_the_same_however_few_are_computed_at_once(
    small_config: Build, sizes: list[int]
) -> None:
    module = module_of(small_config("trainer.precision=64-true"))
    found, config = [], module.config
    for rows in (256, 3):
        sizes.clear()
        report = evaluate(
            module.policy,
            module.data,
            config.evaluation,
            config.reward,
            split="val",
            alpha=0.5,
            rows_at_a_time=rows,
        )
        found.append(report.metrics)
        # Four samples to each of four problems.
        assert max(sizes) == min(rows, 16)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_whole_run_computes_no_more_at_once(
    small_models: Path, tmp_path: Path, sizes: list[int]
) -> None:
    config = small_composed(small_models, "rollout.rows_at_a_time=3")
    train(parse(config, TrainConfig), RunDirectory(tmp_path, config, "run"))
    assert max(sizes) == 3


def test_the_plan_counts_what_is_computed_at_once(small_config: Build) -> None:
    twelve = "evaluation.max_new_tokens=12"
    config = small_config("teacher=none", "rollout.rows_at_a_time=3", twelve)
    found = calibrate(config, 1, began=0.0)
    policy, prompt = found.models.policy, found.data.longest_prompt
    parts = {part.name: part.size for part in command.sizes(config, found, 100)}
    # Twelve tokens behind the prompt, in rollouts and in evaluations.
    for when in ("sampling", "evaluation"):
        assert parts[f"key-value cache ({when})"] == 3 * (prompt + 12) * policy.cache_bytes
