"""Answers behind one copy of their prompt give what they give in rows of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from language_models import FAMILIES, ODD, STATES, make_model

from chord.data.batch import TokenBatch, collate, micro_batches
from chord.models.hf import trial
from chord.models.hf.config import HFModel, HFTeacher
from chord.models.hf.policy import HFPolicy
from chord.models.scoring import score
from chord.models.sharing import prompt_numbers, share_prompts

LONG, OTHER = list(range(10, 30)), list(range(40, 52))
PROMPTS = [LONG, OTHER, LONG, LONG, OTHER]
ANSWERS = [[5, 6, 2], [7, 2], [8, 9, 5, 6, 2], [2], [9, 9, 9]]
WINDOWED = ("gemma2", "gemma3_text")


@pytest.fixture(params=[family for family in FAMILIES if family not in WINDOWED])
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> HFPolicy:
    path = make_model(tmp_path / "model", request.param)
    return HFModel(path=str(path)).build().double()


def rows() -> TokenBatch:
    return collate(PROMPTS, ANSWERS, pad_id=2)


def test_features_and_gradients_are_those_of_rows_of_their_own(
    policy: HFPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, found = rows(), []
    targets = batch.targets[batch.mask]
    for shares in (True, False):
        monkeypatch.setattr(HFPolicy, "shares_prompts", shares)
        policy.zero_grad()
        logprobs = score(policy, batch).logprobs(targets)
        (logprobs * torch.arange(1, len(targets) + 1)).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
        found.append((logprobs.detach(), gradient))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-9, rtol=0)
    # Most models take their norms in float32 whatever their own precision, and so do gradients.
    assert (found[0][1] - found[1][1]).norm() < 1e-6 * found[1][1].norm()


def test_one_row_for_each_prompt_with_positions_that_go_on_from_it() -> None:
    shared = share_prompts(rows())
    assert shared is not None
    # 20 + (2 + 4 + 0) and 12 + (1 + 2): an answer's last token predicts nothing.
    assert shared.input_ids.shape == (2, 26)
    assert shared.input_ids[0].tolist() == [*LONG, 5, 6, 8, 9, 5, 6]
    assert shared.positions[0, 18:].tolist() == [18, 19, 20, 21, 20, 21, 22, 23]
    # The third answer's first token sees its prompt and itself, not the answer before it.
    assert shared.allowed[0, 22].nonzero().flatten().tolist() == [*range(20), 22]
    # Row by row: the prompt's last token, then the answer's own but for the last.
    assert shared.places.tolist() == [19, 20, 21, 37, 38, 19, 22, 23, 24, 25, 19, 37, 39, 40]


def test_nothing_is_shared_where_it_saves_nothing() -> None:
    assert share_prompts(collate([LONG, OTHER], [[5, 2], [6, 2]], pad_id=2)) is None
    # Two tokens of prompt before thirty of answer: 62 in a row instead of 64 in two.
    assert share_prompts(collate([[3, 4]] * 2, [[5] * 30] * 2, pad_id=2)) is None


@pytest.mark.parametrize("family", [*WINDOWED, *STATES, *ODD])
def test_layers_with_a_window_a_state_or_columns_are_not_shared(
    tmp_path: Path, family: str
) -> None:
    path = make_model(tmp_path / "model", family)
    assert not HFModel(path=str(path)).build().shares_prompts


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_in_half_precision_is_no_difference(tmp_path: Path, dtype: str) -> None:
    sizes = {"num_hidden_layers": 30, "hidden_size": 64}
    deep = HFModel(path=str(make_model(tmp_path / "deep", **sizes)), dtype=dtype)
    assert deep.build().shares_prompts


@pytest.mark.parametrize("family", ["lfm2", "falcon"])
def test_what_no_setting_tells_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """One layer's features are others, the other raises: also if they looked like common ones."""
    monkeypatch.setattr(trial, "_looks_alike", lambda model: True)
    teacher = HFTeacher(path=str(make_model(tmp_path / "model", family))).build()
    assert not teacher.shares_prompts


def test_rows_of_one_prompt_stay_together_however_small_the_pieces() -> None:
    batch = rows()
    numbers = prompt_numbers(batch)
    assert numbers.tolist() == [0, 1, 0, 0, 1]
    order = torch.cat(list(micro_batches(batch, 2, together=numbers))).tolist()
    # The shorter prompt's longest row has 15 tokens, the other's 25.
    assert order == [1, 4, 0, 2, 3]
