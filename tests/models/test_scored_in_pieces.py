"""What is scored without a gradient goes through the model a micro-batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_composed
from safetensors.torch import load_file
from steps import module_of, on_two_ranks, sharded
from torch import Tensor

from chord.cache_teacher import main
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.evaluation.report import imitation
from chord.models.packing import Packed
from chord.models.transformer import Transformer
from chord.run.directory import RunDirectory
from chord.run.training import train
from chord.step.module import ChordModule

Build = Callable[..., TrainConfig]
PAIRS = 7


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went through a model, forward by forward; those of samplers left out."""
    seen: list[int] = []
    hidden, packed_hidden = Transformer.hidden, Transformer.hidden_packed

    def counted(self: Transformer, input_ids: Tensor, *masks: Any, cache: Any = None) -> Tensor:
        if cache is None:
            seen.append(len(input_ids))
        return hidden(self, input_ids, *masks, cache=cache)

    def counted_packed(self: Transformer, packed: Packed) -> Tensor:
        seen.append(sum(len(rows) for rows in packed.rows))
        return packed_hidden(self, packed)

    monkeypatch.setattr(Transformer, "hidden", counted)
    monkeypatch.setattr(Transformer, "hidden_packed", counted_packed)
    return seen


def scored(module: ChordModule, count: int, micro_batch: int) -> dict[str, float]:
    pairs = module.data.held_out_pairs("validation")[:count]
    return imitation(module.policy, module.data, pairs, micro_batch=micro_batch)


@pytest.mark.parametrize("size", [1, 3])
def test_held_out_answers_have_the_same_scores_in_pieces(
    small_config: Build, sizes: list[int], size: int
) -> None:
    module = module_of(small_config("trainer.precision=64-true"))
    whole = scored(module, PAIRS, 0)
    sizes.clear()
    assert scored(module, PAIRS, size) == pytest.approx(whole, rel=1e-12)
    assert sum(sizes) == PAIRS
    assert max(sizes) == size


@pytest.mark.parametrize("count", [1, PAIRS])
@pytest.mark.parametrize("prepare", [lambda module: None, sharded], ids=["replicas", "shards"])
def test_ranks_share_held_out_answers_and_all_have_their_scores(
    small_config: Build,
    tmp_path: Path,
    sizes: list[int],
    count: int,
    prepare: Callable[[ChordModule], None],
) -> None:
    config = small_config("trainer.precision=64-true")
    alone = scored(module_of(config), count, 0)

    def work(rank: int) -> list[Tensor]:
        module = module_of(config)
        prepare(module)
        sizes.clear()
        assert scored(module, count, 2) == pytest.approx(alone, rel=1e-12)
        assert max(sizes) <= 2
        return [torch.tensor(float(sum(sizes)))]

    # A rank without an answer runs the model on a row that nobody reads.
    assert on_two_ranks(tmp_path, work)[0].item() == max(1, count / 2)


@pytest.mark.parametrize("size", [1, 3])
def test_a_teachers_cache_is_the_same_in_pieces(
    small_models: Path, tmp_path: Path, sizes: list[int], size: int
) -> None:
    found = []
    for rows in (0, size):
        sizes.clear()
        path = tmp_path / f"{rows}.safetensors"
        given = [f"data.expert_pairs={PAIRS}", f"teacher.path={small_models}/teacher.safetensors"]
        given += ["trainer.precision=64-true", f"trainer.micro_batch={rows}"]
        main(["--to", str(path), *given])
        found.append(load_file(path))
        assert max(sizes) == (rows or PAIRS)
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


def test_a_whole_run_computes_no_more_than_a_micro_batch(
    small_models: Path, tmp_path: Path, sizes: list[int]
) -> None:
    config = small_composed(small_models, "trainer.micro_batch=2", "weighting=adaptive")
    train(parse(config, TrainConfig), RunDirectory(tmp_path, config, "run"))
    assert max(sizes) == 2
