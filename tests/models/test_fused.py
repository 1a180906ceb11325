"""Which models chord's own decoder computes, and that transformers computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import make_model
from torch import Tensor

from chord.data.batch import collate
from chord.models.cache import KVCache
from chord.models.hf.cache import HFCache
from chord.models.hf.config import HFModel
from chord.models.hf.policy import BasePolicy, HFPolicy
from chord.models.hf.settings import Lora
from chord.models.scoring import score
from chord.rollout import draw_uniforms, sample
from chord.rollout.sampling import Samples

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "key heads": ("llama", {"num_key_value_heads": 1}),
    "biases": ("llama", {"attention_bias": True}),
    "wide heads": ("llama", {"head_dim": 12}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "llama3": ("llama", {"rope_parameters": LLAMA3}),
    "linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
    ),
    "mistral": ("mistral", {"sliding_window": None, "num_key_value_heads": 1}),
    "qwen2": ("qwen2", {"num_key_value_heads": 1}),
    "qwen3": ("qwen3", {"num_key_value_heads": 1, "head_dim": 8}),
}
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "another family": ("gpt2", {}),
    "another norm": ("gemma2", {"num_key_value_heads": 1, "head_dim": 8}),
    "a window": ("mistral", {"sliding_window": 8, "num_key_value_heads": 1}),
    "another gate": ("llama", {"hidden_act": "gelu"}),
    "biases in the MLP": ("llama", {"mlp_bias": True}),
    "positions that depend on the length": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
    ),
}
PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
RESPONSES = [[30, 31, 2], [32, 2], [33, 34, 35, 2]]


def build(directory: Path, **settings: Any) -> HFPolicy:
    return HFModel(path=str(directory), **settings).build().eval()


def answers(policy: HFPolicy | BasePolicy) -> Samples:
    uniforms = draw_uniforms(0, 0, keys=[1, 2, 3], group_size=3, max_new_tokens=8)
    return sample(
        policy,
        PROMPTS,
        group_size=3,
        max_new_tokens=8,
        uniforms=uniforms,
        stop_ids={2, *range(40, 60)},
        pad_id=2,
    )


def gradients(policy: HFPolicy) -> dict[str, Tensor]:
    batch = collate(PROMPTS, RESPONSES, pad_id=2)
    policy.zero_grad()
    score(policy, batch).logprobs(batch.targets[batch.mask]).sum().backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_model_is_computed_by_chord_as_by_transformers(tmp_path: Path, name: str) -> None:
    family, settings = KNOWN[name]
    policy = build(make_model(tmp_path / "model", family, **settings))
    # With biases and norms that do something.
    for parameter in policy.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    assert policy.packs
    assert isinstance(policy.new_cache(1, 1), KVCache)
    ours, found = answers(policy), gradients(policy)
    policy._packs, policy.fused = False, None
    assert isinstance(policy.new_cache(1, 1), HFCache)
    theirs, expected = answers(policy), gradients(policy)
    assert ours.responses == theirs.responses
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)
    assert found.keys() == expected.keys()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, expected[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", UNKNOWN)
def test_another_model_is_left_to_transformers(tmp_path: Path, name: str) -> None:
    family, settings = UNKNOWN[name]
    policy = build(make_model(tmp_path / "model", family, **settings))
    assert policy.fused is None
    assert not policy.packs


def test_a_model_that_only_looks_like_its_family_is_left_to_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaMLP

    path = make_model(tmp_path / "model")
    assert build(path).packs
    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: 2 * forward(self, x))
    assert build(path).fused is None


def test_adapters_are_merged_for_sampling_and_the_base_is_sampled_without_them(
    tmp_path: Path,
) -> None:
    path = make_model(tmp_path / "model")
    policy = build(path, lora=Lora(rank=2))
    plain = answers(policy)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    assert not policy.packs, "an adapter is trained as transformers and peft compute it"
    adapted, base = answers(policy), answers(BasePolicy(policy))
    assert base.responses == plain.responses
    assert torch.equal(base.logprobs, plain.logprobs)
    assert adapted.responses != plain.responses
    policy.fused = None
    theirs = answers(policy)
    assert adapted.responses == theirs.responses
    torch.testing.assert_close(adapted.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)


def test_weights_that_change_are_the_next_samples_weights(tmp_path: Path) -> None:
    policy = build(make_model(tmp_path / "model"))
    before = answers(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.5)
    after = answers(policy)
    assert before.responses != after.responses
    assert not torch.equal(before.logprobs, answers(policy).logprobs)


def test_positions_beyond_the_first_table_are_those_of_transformers(tmp_path: Path) -> None:
    policy = build(make_model(tmp_path / "model"))
    with torch.no_grad():
        for length in (3, 100, 50):
            ids = torch.arange(length)[None] % 60
            features = policy.hidden(ids)
            theirs = policy.causal.get_decoder()(input_ids=ids).last_hidden_state
            torch.testing.assert_close(features, theirs, rtol=1e-4, atol=1e-4)
