"""The plan's sizes are those of the tensors themselves; its command takes the settings of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch
from language_models import FAMILIES, make_model

from chord.config.root import TrainConfig
from chord.data.batch import TokenBatch, collate
from chord.models.hf.cache import HFCache
from chord.models.hf.config import HFModel
from chord.models.hf.settings import Lora
from chord.models.models import Models
from chord.models.policy import Policy
from chord.models.scoring import score
from chord.models.tiny import Tiny
from chord.plan import command, disk, memory
from chord.plan.calibration import Calibration, answers
from chord.plan.duration import duration, expert_length
from chord.plan.memory import EVALUATION, SAMPLING, TRAINING, Part, computed
from chord.run.build import build_models, open_data

if TYPE_CHECKING:
    from chord.data.base import Data


def test_the_peak_is_what_stays_and_the_largest_of_what_takes_turns() -> None:
    parts = [
        Part("a", 10),
        Part("b", 5, SAMPLING),
        Part("c", 3, TRAINING),
        Part("d", 4, TRAINING),
        Part("e", 6, EVALUATION),
    ]
    assert memory.peak(parts, reused=True) == 17
    assert memory.peak(parts[:2], reused=True) == 15
    # The C library gives nothing back.
    assert memory.peak(parts, reused=False) == 28


def test_two_moments_for_each_trained_weight(small_config: Callable[..., TrainConfig]) -> None:
    config = small_config("optimizer@sft_optimizer=adamw", "weighting=adaptive")
    models = build_models(config)
    size = 4 * sum(p.numel() for p in models.policy.parameters())
    found = {part.name: part.size for part in memory.of_models(config, models)}
    assert found["gradients"] == size
    # Two optimizers of two moments each.
    assert found["optimizer"] == 4 * size
    # The table of rotations is no parameter.
    rope = models.policy.get_buffer("rope")
    assert found["policy"] == found["teacher"] == size + 4 * rope.numel()


def test_the_disk_of_what_is_kept(small_config: Callable[..., TrainConfig]) -> None:
    # Steps 20, 40, 60, 80 and 100, of these the last two, and the best.
    keep = ["trainer.keep.every=20", "trainer.keep.last=2", "trainer.keep.best=val/rl_reward"]
    config = small_config("teacher=none", "steps=100", "trainer.checkpoint_every=20", *keep)
    policy = build_models(config).policy
    weights = 4 * sum(p.numel() for p in policy.parameters())
    parts = [(part.name, part.size) for part in disk.of_checkpoints(config, policy)]
    assert parts == [
        ("last checkpoint", 3 * weights),
        ("kept checkpoints (at most 6)", 6 * 3 * weights),
        ("next one, while it is written", 3 * weights),
    ]
    plain = small_config("teacher=none", "optimizer@sft_optimizer=adamw")
    assert [part.size for part in disk.of_checkpoints(plain, policy)] == [5 * weights] * 2


def test_adapters_alone_have_gradients(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model")
    policy = HFModel(path=str(path), lora=Lora(rank=2, targets=["q_proj"])).build()
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    # Rank 2, two layers, from 16 to 16.
    assert trained == 2 * 2 * (16 + 16)


@pytest.mark.parametrize("family", ["tiny", *FAMILIES])
@torch.no_grad()
def test_a_cache_takes_what_is_said(tmp_path: Path, family: str) -> None:
    policy: Policy = Tiny(path=None, pretraining_seed=0).build()
    if family != "tiny":
        policy = HFModel(path=str(make_model(tmp_path / "model", family))).build()
    cache = policy.new_cache(2, 3)
    policy.hidden(torch.tensor([[3, 4, 5], [6, 7, 8]]), cache=cache)
    if isinstance(cache, HFCache):
        layers = cache.entries.layers
        tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    else:
        size = cache.storage.numel() * 4  # type: ignore[attr-defined]
    assert size == 2 * 3 * policy.cache_bytes


def test_a_cache_of_states_takes_nothing_for_a_token(tmp_path: Path) -> None:
    assert HFModel(path=str(make_model(tmp_path / "model", "mamba"))).build().cache_bytes == 0


def different(count: int) -> TokenBatch:
    """Rows with a prompt each."""
    return collate([[3, 4, 5 + n] for n in range(count)], [[6, 7, 8, 1]] * count, pad_id=0)


def test_what_is_kept_grows_with_rows_and_holds_no_weights() -> None:
    policy = Tiny(path=None, pretraining_seed=0).build()
    two, eight = (different(n) for n in (2, 8))
    small, large = memory.kept(policy, two), memory.kept(policy, eight)
    assert 3.5 < large / small < 4.5
    # At least the input of each linear layer: four of them in a layer, one as wide as the MLP's.
    tokens, sizes = eight.input_ids[:, 1:].numel(), policy.config
    assert large > 4 * tokens * sizes.layers * (3 * sizes.width + sizes.mlp_width)
    # Several times that: norms, rotations, the gate's two factors; and no copy of the weights.
    assert large < 20 * 4 * tokens * sizes.layers * (3 * sizes.width + sizes.mlp_width)
    score(policy, two).features.sum().backward()


def test_scoring_held_out_pairs_takes_a_layer_at_a_time() -> None:
    policy = Tiny(path=None, pretraining_seed=0).build()
    batch = different(8)
    layers, logits = len(policy.layers()), 8 * 4 * policy.vocab_size
    held = memory.of_scoring(policy, batch, 0)
    assert held.when == EVALUATION
    assert held.size == memory.kept(policy, batch) // layers + 2 * 4 * logits
    training = memory.of_training(policy, [batch], 0)
    assert [part.size for part in training] == [memory.kept(policy, batch), 5 * 4 * logits]
    # Two rows at a time are a quarter of it.
    quarter = memory.of_scoring(policy, batch, 2)
    assert quarter.size == pytest.approx(held.size / 4, rel=0.1)


def test_the_time_of_a_run_by_hand(small_config: Callable[..., TrainConfig]) -> None:
    policy = Tiny(path=None, pretraining_seed=0).build()
    found = Calibration(
        data=cast("Data", None),
        models=Models(policy),
        # Rows of 3 + 6 tokens without the last, which predicts nothing: 16 in all, 12 of answers.
        rollouts=collate([[3, 4, 5]] * 2, [[6, 7, 8, 9, 9, 1]] * 2, pad_id=0),
        experts=collate([[3, 4, 5], [5, 4, 3]], [[6, 7, 1], [7, 6, 1]], pad_id=0),
        held_out=None,
        start=5.0,
        rollout=1.0,
        loss=2.0,
        update=0.5,
        answer=0.1,
        length=12.0,
    )
    config = small_config("steps=2", "evaluation.every=2")
    assert expert_length(found) == 0.5
    assert duration(config, found, validation=3, last=10).run == pytest.approx(14.6)
    tokens = computed(policy, found.rollouts) + computed(policy, found.experts)
    then = duration(config, found, validation=3, last=10, length=0.5)
    assert then.rollout == 0.5
    assert then.loss == pytest.approx(2 * (1 - 0.5 * 12 / tokens))
    assert then.validation == pytest.approx(0.15)
    # The untrained model's evaluations, the first and one of the last two, stay as they are.
    evaluations = 0.3 + 0.15 + 1 + 0.5
    assert then.run == pytest.approx(5 + 2 * then.step + evaluations)
    assert expert_length(replace(found, experts=None)) is None
    # Without rollouts by the answers of an evaluation.
    assert expert_length(replace(found, rollouts=None)) == 0.25


def test_an_evaluation_asks_for_all_that_is_retained(
    small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    rows = [{"problem": f"{n} plus 1?", "answer": f"{n + 1}"} for n in range(40)]
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = small_config("evaluation.val_retained=4", f"evaluation.retained=[{path}]")
    with open_data(config) as data:
        skills = len(data.retained("validation"))
        there = len(data.skills[0].problems["validation"])
        assert 4 < there < 20
        problems = 5 * config.evaluation.val_problems
        assert answers(data, config.evaluation, "val") == problems + 4 * (skills + 1)
        many = replace(config.evaluation, val_retained=20)
        assert answers(data, many, "val") == problems + 20 * skills + there


def test_the_command_prints_all_tables(
    small_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["rollout.problems=2", "rollout.group_size=2", "data.expert_batch=2", "teacher=none"]
    command.main([f"model.path={small_models}/base.safetensors", *few, "--steps", "1"])
    printed = capsys.readouterr().out
    for line in (
        "Python and libraries",
        "activations",
        "held-out pairs",
        "peak",
        "last checkpoint",
        "until the first step",
        "at the base's length",
        "the run, 120",
    ):
        assert line in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps 0: must be a whole number, at least 1"),
        (["steps=0"], "steps=0: must be at least 1"),
        (["schedule=cosin"], "cosin"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err


def test_a_process_of_fsdp_keeps_its_share_and_puts_it_together(
    small_config: Callable[..., TrainConfig],
) -> None:
    single = small_config("teacher=none")
    models = build_models(single)
    alone = {part.name: part.size for part in memory.of_models(single, models)}
    config = small_config("teacher=none", "trainer=fsdp", "trainer.devices=4")
    parts = {part.name: part for part in memory.of_models(config, models)}
    for name in ("policy", "gradients", "optimizer"):
        assert parts[name].size == alone[name] // 4
    # Whole while it samples: the other three quarters.
    together = parts["gathered policy (sampling)"]
    assert together.when == SAMPLING
    assert together.size + parts["policy"].size == alone["policy"]
    # All but one of the layers are away while it trains; a weight and its gradient.
    layers = models.policy.layers()
    away = (len(layers) - 1) * memory.weights(layers[0])
    layer = parts["gathered layer (training)"]
    assert (layer.size, layer.when) == (2 * (alone["policy"] - away), TRAINING)
