"""The policy: padding, causality, the cache, scoring, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from steps import response_logits
from torch import Tensor

from chord.data.batch import collate
from chord.models.scoring import scatter
from chord.models.storage import load_policy, read_metadata, save_policy
from chord.models.transformer import Transformer, TransformerConfig
from chord.weightings import token_logprobs

EXACT = {"rtol": 0.0, "atol": 1e-10}


def build(**sizes: Any) -> Transformer:
    """A small float64 policy whose logits are far from uniform."""
    torch.manual_seed(0)
    config = TransformerConfig(
        **{"vocab_size": 11, "width": 16, "layers": 2, "heads": 4, "context": 24} | sizes
    )
    policy = Transformer(config).double()
    torch.nn.init.normal_(policy.head.weight, std=0.5)
    return policy


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(2, 11, (rows, length), generator=torch.Generator().manual_seed(1))


def test_the_default_size_is_under_one_million_parameters() -> None:
    policy = Transformer(TransformerConfig(vocab_size=64))
    assert 700_000 < sum(p.numel() for p in policy.parameters()) < 1_000_000


def test_a_fresh_policy_is_close_to_uniform() -> None:
    torch.manual_seed(0)
    ids = tokens(4, 20)
    logits = Transformer(TransformerConfig(vocab_size=11))(ids).detach()
    # ln 11 = 2.397895
    assert abs(float(-token_logprobs(logits, ids).mean()) - 2.397895) < 0.1


def test_no_token_sees_those_behind_it() -> None:
    policy, ids = build(), tokens(2, 12)
    changed = ids.clone()
    changed[:, 7:] = 2
    torch.testing.assert_close(policy(ids)[:, :7], policy(changed)[:, :7], **EXACT)
    assert not torch.allclose(policy(ids)[:, 7], policy(changed)[:, 7])


@pytest.mark.parametrize("pad", ["left", "right", "both"])
def test_padding_changes_nothing(pad: str) -> None:
    policy, ids = build(), tokens(1, 9)
    left, right = {"left": (4, 0), "right": (0, 4), "both": (3, 2)}[pad]
    padded = F.pad(ids, (left, right))
    mask = F.pad(torch.ones_like(ids, dtype=torch.bool), (left, right))
    # A longer neighbour, so that the batch is padded for a reason.
    batch = torch.cat((padded, tokens(1, padded.shape[1])))
    masks = torch.cat((mask, torch.ones_like(mask)))
    out = policy(batch, masks)
    torch.testing.assert_close(out[:1, left : left + 9], policy(ids), **EXACT)
    torch.testing.assert_close(out[1:], policy(batch[1:]), **EXACT)
    assert bool(out.isfinite().all())


def test_right_padding_needs_no_mask_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    attention = F.scaled_dot_product_attention

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        masks.append((kwargs["attn_mask"], kwargs["is_causal"]))
        return attention(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    policy, ids = build(), tokens(2, 5)
    policy(ids)
    policy(ids, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool())
    assert masks == [(None, True)] * 4


@pytest.mark.parametrize("pieces", [[9, 1, 1, 1], [1] * 12, [4, 5, 1, 2], [12]])
def test_the_cache_changes_nothing(pieces: list[int]) -> None:
    policy, ids = build(), tokens(3, 12)
    cache = policy.new_cache(3, 12)
    with torch.no_grad():
        out = torch.cat([policy.hidden(piece, cache=cache) for piece in ids.split(pieces, 1)], 1)
    torch.testing.assert_close(out, policy.hidden(ids), **EXACT)


@pytest.mark.parametrize("pieces", [[6, 1, 1, 1], [3, 3, 2, 1]])
def test_the_cache_honours_left_padding(pieces: list[int]) -> None:
    policy, ids = build(), tokens(3, 9)
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, :2] = mask[2, :4] = False
    cache = policy.new_cache(3, 9)
    out = torch.cat(
        [
            policy.hidden(piece, seen, cache=cache)
            for piece, seen in zip(ids.split(pieces, 1), mask.split(pieces, 1), strict=True)
        ],
        1,
    )
    for row, start in enumerate((0, 2, 4)):
        alone = policy.hidden(ids[row : row + 1, start:])
        torch.testing.assert_close(out[row : row + 1, start:], alone, **EXACT)


@pytest.mark.parametrize("padded", [False, True])
def test_cached_rows_can_be_repeated_dropped_and_moved(padded: bool) -> None:
    policy, ids = build(), tokens(2, 6)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, :3] = not padded
    cache = policy.new_cache(2, 8)
    policy.hidden(ids, mask, cache=cache)
    grown = cache.expand(3)
    # Rows are a a a b b b; the last b takes the place of the first a, the second a and one b stay.
    grown.select(torch.tensor([5, 1, 3]))
    assert (cache.rows, grown.rows, grown.length) == (2, 3, 6)
    new = tokens(3, 1)
    out = policy.hidden(new, cache=grown)
    for row, source in enumerate((1, 0, 1)):
        start = 3 if padded and source == 1 else 0
        whole = torch.cat((ids[source : source + 1, start:], new[row : row + 1]), 1)
        alone = policy.hidden(whole)[:, -1:]
        torch.testing.assert_close(out[row : row + 1], alone, **EXACT)


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    policy = build()
    with pytest.raises(ValueError, match=r"model\.context=24: a sequence of 25 tokens"):
        policy(tokens(1, 25))
    with pytest.raises(ValueError, match="5 tokens does not fit a cache of 4"):
        policy.hidden(tokens(1, 5), cache=policy.new_cache(1, 4))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("width", 18), ("layers", 0), ("context", -1), ("rope_base", 1.0)],
)
def test_sizes_are_checked_by_name(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{setting}={value}: must"):
        build(**{setting: value})


def test_response_logits_are_those_of_the_whole_forward_where_a_response_is() -> None:
    policy = build()
    batch = collate([[2, 3, 4], [5]], [[6, 7, 1], [8]], pad_id=0)
    logits = response_logits(policy, batch)
    assert logits.shape == (4, 11)
    whole = policy(batch.input_ids)[:, :-1]
    torch.testing.assert_close(logits, whole[batch.mask], **EXACT)
    logprobs = scatter(token_logprobs(logits, batch.targets[batch.mask]), batch.mask)
    expected = whole.log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    torch.testing.assert_close(logprobs, expected * batch.mask, **EXACT)


def test_a_batch_without_responses_still_reaches_every_parameter() -> None:
    policy = build()
    batch = collate([[2, 3, 4], [5, 6]], [[], []], pad_id=0)
    logits = response_logits(policy, batch)
    assert logits.shape == (0, 11)
    logits.sum().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_scatter_puts_values_back_and_lets_gradients_through() -> None:
    mask = torch.tensor([[False, True, True], [True, False, False]])
    flat = torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64, requires_grad=True)
    out = scatter(flat, mask)
    assert out.tolist() == [[0, 7, 8], [9, 0, 0]]
    # d/dx of sum x^2 is 2 x.
    out.square().sum().backward()
    assert flat.grad is not None
    assert flat.grad.tolist() == [14, 16, 18]
    assert scatter(torch.ones(3, 5), mask).shape == (2, 3, 5)


def test_log_probabilities_survive_logits_far_apart() -> None:
    # ln(e^0 / (e^0 + e^200)) = -200 to within e^-200; log(softmax) would be -inf.
    logits = torch.tensor([[200.0, 0.0]])
    assert token_logprobs(logits, torch.tensor([1])).tolist() == [-200.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_policy_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    policy, path = build().to(dtype), tmp_path / "deep" / "policy.safetensors"
    save_policy(policy, path, {"alphabet": "01", "seed": 3})
    loaded = load_policy(path)
    assert loaded.config == policy.config
    assert torch.equal(loaded(tokens(2, 5)), policy(tokens(2, 5)))
    assert read_metadata(path) == {"alphabet": "01", "seed": 3}
    assert [file.name for file in path.parent.iterdir()] == ["policy.safetensors"]


def test_equal_policies_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_policy(build(), tmp_path / name, {"b": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_bad_checkpoint_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    save_policy(build(), tmp_path / "good")
    content = (tmp_path / "good").read_bytes()
    (tmp_path / "short").write_bytes(content[:-1])
    (tmp_path / "header").write_bytes(content[:20])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a checkpoint, but long enough to look at")
    save_file({"x": torch.ones(1)}, tmp_path / "foreign")
    metadata = {"chord": '{"config": {"vocab_size": 11}, "metadata": {}}'}
    save_file({"x": torch.ones(1)}, tmp_path / "keys", metadata=metadata)
    save_file({"embedding.weight": torch.ones(1)}, tmp_path / "shapes", metadata=metadata)
    (tmp_path / "folder").mkdir()
    names = "missing short header empty text foreign keys shapes folder"
    for name in names.split():
        path = tmp_path / name
        with pytest.raises(ValueError, match=f"^checkpoint {path}: ") as error:
            load_policy(path)
        assert "\n" not in str(error.value)
