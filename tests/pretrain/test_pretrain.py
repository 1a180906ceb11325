"""Pre-training: a pure function of the recipe, resumable, and what it ships can be loaded."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chord.data.tasks import TARGET, key_of, part_of
from chord.errors import ConfigError
from chord.models.storage import load_policy, read_metadata
from chord.models.tiny import ASSETS, Tiny
from chord.pretrain.command import main
from chord.pretrain.mixture import WORKED, Document, Mixture, buckets, tokens_of
from chord.pretrain.recipe import BASE, RECIPES, TEACHER, micro
from chord.pretrain.training import pretrain, state_path, train_step

RECIPE = micro(BASE)
BASES = {"base": BASE, "base-1": replace(BASE, seed=1), "base-2": replace(BASE, seed=2)}


def quiet(line: str) -> None:
    assert re.match(r"\w+-\d step \d+ of \d+ loss \d\.\d{4} .* \(\d+ s\)$", line), line


def test_mixture_shares_sum_to_one_and_are_kept() -> None:
    mixture = Mixture(direct=0.5, worked=0.1)
    assert sum(mixture.shares.values()) == pytest.approx(1)
    documents = mixture.documents("pretrain", 4000, random.Random(0))
    counts = Counter(document.kind for document in documents)
    # The standard error of a share of .5 in 4,000 is .008.
    assert counts[TARGET] / 4000 == pytest.approx(0.5, abs=0.03)
    assert counts[WORKED] / 4000 == pytest.approx(0.1, abs=0.03)
    assert set(counts) == set(mixture.shares)


def test_pre_training_reads_its_own_part_alone() -> None:
    for recipe in RECIPES.values():
        documents = recipe.mixture.documents("pretrain", 500, random.Random(1))
        assert {part_of(key_of(document.prompt)) for document in documents} == {"pretrain"}


def test_buckets_keep_every_document_and_join_small_pieces() -> None:
    # Sizes 6 and 15: below and above the first cut, 12 characters.
    short = Document("reverse", "r12=", "21")
    long = Document("reverse", "r1234567=", "765432")
    assert [len(piece) for piece in buckets([short, long] * 20)] == [20, 20]
    assert [len(piece) for piece in buckets([short] * 3 + [long] * 20)] == [23]
    documents = BASE.mixture.documents("pretrain", 200, random.Random(2))
    pieces = buckets(documents)
    assert Counter(d for piece in pieces for d in piece) == Counter(documents)
    assert [len(piece) for piece in buckets([short] * 3)] == [3]


def test_pieces_give_the_gradient_of_the_whole_batch() -> None:
    # The loss is a mean over all response tokens, so cutting the batch must not change the step.
    documents = BASE.mixture.documents("pretrain", 60, random.Random(3))
    assert len(buckets(documents)) > 1
    torch.manual_seed(0)
    from chord.models.transformer import Transformer

    model = Transformer(RECIPE.model).double()
    batch = tokens_of(documents)
    logits = model(batch.input_ids[:, :-1])[batch.mask]
    torch.nn.functional.cross_entropy(logits, batch.targets[batch.mask]).backward()
    whole = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    train_step(model, [], documents, rate=1.0, clip=1e9)
    pieces = [weight.grad for weight in model.parameters() if weight.grad is not None]
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_learning_rate_rises_stays_falls_and_stays_low() -> None:
    recipe = replace(BASE, steps=100, warmup=10, decay_from=0.4, decay_to=0.8, floor=0.02)
    # Warm-up (step + 1) / 10; half a cosine from 1 at step 40 over .51 at 60 to .02 from 80 on.
    assert [recipe.rate(step) for step in (0, 4, 9, 39, 60, 80, 99)] == pytest.approx(
        [0.1, 0.5, 1.0, 1.0, 0.51, 0.02, 0.02]
    )


def test_the_same_recipe_gives_the_same_weights(tmp_path: Path) -> None:
    first, curve, _ = pretrain(RECIPE, tmp_path / "a", report=quiet)
    second, _, _ = pretrain(RECIPE, tmp_path / "b", report=quiet)
    other, _, _ = pretrain(replace(RECIPE, seed=1), tmp_path / "a", report=quiet)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    assert [row["step"] for row in curve] == [4, 8]


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, curve, seconds = pretrain(RECIPE, tmp_path / "whole", report=quiet)
    pretrain(RECIPE, tmp_path / "cut", report=quiet, stop=6)
    resumed, resumed_curve, resumed_seconds = pretrain(RECIPE, tmp_path / "cut", report=quiet)
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    assert curve == resumed_curve
    assert min(seconds, resumed_seconds) > 0


def test_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    pretrain(RECIPE, tmp_path, report=quiet, stop=4)
    with pytest.raises(ValueError, match="another recipe"):
        pretrain(replace(RECIPE, batch=8), tmp_path, report=quiet)
    state_path(RECIPE, tmp_path).write_text("no state")
    with pytest.raises(ConfigError, match=r"can't be read \(.*\); delete it or pass --fresh$"):
        pretrain(RECIPE, tmp_path, report=quiet)


@pytest.mark.slow
def test_the_command_writes_checkpoints_and_card(tmp_path: Path) -> None:
    main(["--micro", "--to", str(tmp_path), "--work", str(tmp_path / "work")])
    assert state_path(RECIPE, tmp_path / "work").exists()
    card = (tmp_path / "README.md").read_text()
    for name, recipe in {**BASES, "teacher": TEACHER}.items():
        model = load_policy(tmp_path / f"{name}.safetensors")
        assert model.config.width == RECIPE.width
        written = read_metadata(tmp_path / f"{name}.safetensors")["recipe"]
        assert (written["name"], written["seed"]) == (recipe.name, recipe.seed)
        assert f"{name}.safetensors" in card


def test_shipped_checkpoints_are_small_and_made_by_the_recipe() -> None:
    for name, recipe in {**BASES, "teacher": TEACHER}.items():
        path = ASSETS / f"{name}.safetensors"
        assert path.stat().st_size <= 4_000_000
        model = load_policy(path)
        assert model.config == recipe.model
        assert sum(weight.numel() for weight in model.parameters()) <= 1_000_000
        written = read_metadata(path)["recipe"]
        assert (written["steps"], written["seed"]) == (recipe.steps, recipe.seed)


@pytest.mark.parametrize(("seed", "name"), [(0, "base"), (1, "base-1"), (2, "base-2")])
def test_the_pretraining_seed_chooses_a_shipped_base(seed: int, name: str) -> None:
    built = Tiny(path=None, pretraining_seed=seed).build()
    shipped = load_policy(ASSETS / f"{name}.safetensors")
    for one, two in zip(built.parameters(), shipped.parameters(), strict=True):
        assert torch.equal(one, two)
