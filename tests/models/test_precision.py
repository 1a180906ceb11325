"""`trainer.precision=bf16-mixed`: products in bfloat16, whatever is taken of logits in float32."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, compose_config
from language_models import make_model
from steps import module_of
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.batch import TokenBatch, collate
from chord.models.hf.config import HFModel
from chord.models.layers import rotate
from chord.models.policy import Policy
from chord.models.scoring import score
from chord.models.tiny import Tiny
from chord.rollout import draw_uniforms, sample
from chord.rollout.engines.hf import Generate
from chord.run.directory import RunDirectory
from chord.run.training import train
from chord.step.module import ChordModule

PROMPTS = [[5, 6, 7], [8], [9, 10]]
MIXED = "trainer.precision=bf16-mixed"
ROUNDING = 2.0**-8
"""Of a number with 8 significant bits, relative to the number."""


def mixed() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)


def off(products: int) -> float:
    """The relative error after so many matrix products, one after the other.

    Each rounds its factors and its result: three errors of at most ROUNDING, so of
    ROUNDING / sqrt(3) at a time, together ROUNDING. Independent ones add up as their squares.
    """
    return math.sqrt(products) * ROUNDING


def products(policy: Policy) -> int:
    """Six in a layer: queries, keys and values, two of attention, its output, two of the MLP."""
    return 6 * len(policy.layers()) + 1


@torch.no_grad()
def bound(policy: Policy, batch: TokenBatch) -> float:
    """How far log-probabilities may be off on average: each is a difference of two logits."""
    largest = float(policy.head(score(policy, batch).features).abs().max())
    return math.sqrt(2) * off(products(policy)) * largest


@pytest.fixture(params=["tiny", "llama", "gpt2"])
def policy(request: pytest.FixtureRequest, small_models: Path, tmp_path: Path) -> Policy:
    if request.param == "tiny":
        return Tiny(path=f"{small_models}/base.safetensors", pretraining_seed=0).build().eval()
    return HFModel(path=str(make_model(tmp_path / "m", request.param))).build().eval()


def sampled(policy: Policy) -> tuple[list[list[int]], Tensor]:
    """Answers to prompts of different lengths, and their log-probabilities."""
    found = sample(
        policy,
        PROMPTS,
        group_size=4,
        max_new_tokens=6,
        uniforms=draw_uniforms(3, 1, keys=[1, 2, 3], group_size=4, max_new_tokens=6),
        stop_ids=frozenset({2}),
        pad_id=0,
    )
    return found.responses, found.logprobs


@torch.no_grad()
def test_log_probabilities_are_those_of_float32_but_for_rounding(policy: Policy) -> None:
    with mixed():
        responses, told = sampled(policy)
        batch = collate([p for p in PROMPTS for _ in range(4)], responses, pad_id=0)
        targets = batch.targets[batch.mask]
        half = score(policy, batch).logprobs(targets)
        whole = policy.head(score(policy, batch).features).log_softmax(dim=-1)
    exact = score(policy, batch).logprobs(targets)
    # In bfloat16 a log-probability of 4 would be off by .008, and so would their sum.
    torch.testing.assert_close(whole.logsumexp(-1), torch.zeros(len(exact)), atol=1e-5, rtol=0)
    for logprobs in (told, half):
        assert logprobs.dtype == torch.float32
        assert 0 < float((logprobs - exact).abs().mean()) < bound(policy, batch)


def test_positions_turn_what_is_in_bfloat16() -> None:
    # Autocast widens complex views on a CPU, and not on a GPU.
    pairs = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]], dtype=torch.bfloat16)
    turned = rotate(pairs, torch.tensor([[1j, -1.0]], dtype=torch.complex64), 1)
    assert turned.dtype == torch.bfloat16
    assert turned.tolist() == [[[-2, 1, -3, -4], [5, 6, 7, 8]]]


@pytest.mark.parametrize("kind", ["tiny", "llama"])
def test_a_run_has_the_gradients_of_float32_but_for_rounding(
    kind: str, small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ["model=hf", f"model.path={make_model(tmp_path / 'm')}"]
    if kind == "tiny":
        model = [f"model.path={small_models}/base.safetensors"]
    model += ["teacher=none", "schedule=constant", "schedule.value=.5", "rollout.updates=2"]
    gradients: list[Tensor] = []
    add = ChordModule.add_gradients

    def seen(self: ChordModule, step: int, plan: Any) -> Any:
        result = add(self, step, plan)
        found = [p.grad for p in self.trainable() if p.grad is not None]
        assert all(gradient.dtype == torch.float32 for gradient in found)
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
        return result

    monkeypatch.setattr(ChordModule, "add_gradients", seen)
    for precision in ("32-true", "bf16-mixed"):
        rate = ["optimizer.lr=.01", "optimizer.warmup=0"]
        config = compose_config(*SMALL, *model, *rate, f"trainer.precision={precision}")
        run = tmp_path / precision
        train(parse(config, TrainConfig), RunDirectory(run, config, "run"))
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 2
        assert all(math.isfinite(row["loss/total"]) and row["grad/norm"] > 0 for row in rows)
    # Both updates of step 0, in float32 and then in bfloat16.
    exact, rounded = gradients[:2], gradients[4:6]
    # For each product of the forward there are two in the backward.
    limit = off(3 * products(parse(config, TrainConfig).model.build()))
    assert 0 < apart(rounded[0], exact[0]) < limit
    # The second update reads the weights that the first has moved, not their copies in bfloat16.
    assert apart(rounded[1], exact[1]) < apart(exact[0], exact[1]) / 4


def apart(gradient: Tensor, other: Tensor) -> float:
    return float((gradient - other).norm() / other.norm())


@pytest.mark.parametrize("other", [False, True], ids=["alike", "apart"])
def test_an_engine_of_another_precision_shows_as_a_mismatch(
    small_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    plain = Generate.generate

    def in_float32(*arguments: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return plain(*arguments)

    if other:
        monkeypatch.setattr(Generate, "generate", in_float32)
    module = module_of(small_config(MIXED, "rollout=hf", "schedule=rl_only", "teacher=none"))
    with mixed():
        rollouts = module.plan(0).rollouts
    assert rollouts is not None
    metrics, limit = rollouts.metrics(), bound(module.policy, rollouts.rows.tokens)
    assert (metrics["rollout/mismatch_mean"] > 1e-5) == other
    assert metrics["rollout/mismatch_mean"] < limit
    # Rounding takes no side.
    assert metrics["rollout/mismatch_ratio"] == pytest.approx(1, abs=limit / 2)
