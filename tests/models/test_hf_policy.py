"""Any causal language model of transformers gives what its own forward gives, in our two parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import FAMILIES, ODD, STATES, in_double, make_model
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaAttention

from chord.data.batch import collate
from chord.models.hf import recomputing, trial
from chord.models.hf.config import HFModel
from chord.models.hf.policy import BasePolicy, HFPolicy
from chord.models.hf.settings import Lora
from chord.models.scoring import score
from chord.rollout import draw_uniforms, sample

MAMBA = ("falcon_h1", "mamba", "mamba2")
"""Families in which peft does not adapt all linear layers."""
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12], [20, 21, 22, 23]]


@pytest.fixture(scope="module", params=[*FAMILIES, *STATES, *ODD])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def policy(directory: Path) -> HFPolicy:
    return build(directory)


def build(directory: Path, **settings: Any) -> HFPolicy:
    """In double precision, but for layers that compute in float32 whatever their weights are."""
    policy = HFModel(path=str(directory), **settings).build()
    own = policy.causal.config
    single = own._attn_implementation == "eager" or own.model_type in STATES
    return policy if single else in_double(policy)


def near(policy: HFPolicy) -> dict[str, float]:
    """How exactly two ways of computing the same agree; Gemma's norms are in float32 throughout."""
    if policy.dtype == torch.float32:
        return {"atol": 1e-4, "rtol": 1e-3}
    gemma = "gemma" in type(policy.causal).__name__.lower()
    return {"atol": 1e-6, "rtol": 1e-5} if gemma else {"atol": 1e-9, "rtol": 1e-9}


def alone(policy: HFPolicy, ids: list[int]) -> Tensor:
    """Logits (L, V) of one sequence without padding, by the model's own forward."""
    logits: Tensor = policy.causal(input_ids=torch.tensor([ids])).logits[0]
    return logits


@torch.no_grad()
def test_padding_on_either_side_changes_no_logit(policy: HFPolicy) -> None:
    width = 6
    right = torch.tensor([p + [2] * (width - len(p)) for p in PROMPTS])
    left = torch.tensor([[2] * (width - len(p)) + p for p in PROMPTS])
    real = torch.tensor([[True] * len(p) + [False] * (width - len(p)) for p in PROMPTS])
    on_right, on_left = policy(right, real), policy(left, real.flip(1))
    for row, prompt in enumerate(PROMPTS):
        expected = alone(policy, prompt)
        torch.testing.assert_close(on_right[row, : len(prompt)], expected, **near(policy))
        torch.testing.assert_close(on_left[row, -len(prompt) :], expected, **near(policy))


@torch.no_grad()
def test_sampled_logprobs_are_those_of_a_forward_without_a_cache(policy: HFPolicy) -> None:
    # Groups of three, answers of different lengths: rows leave the batch in between.
    uniforms = draw_uniforms(0, 0, keys=[1, 2, 3], group_size=3, max_new_tokens=12)
    samples = sample(
        policy,
        PROMPTS,
        group_size=3,
        max_new_tokens=12,
        uniforms=uniforms,
        stop_ids={2, *range(40, 60)},
        pad_id=2,
    )
    assert len({len(response) for response in samples.responses}) > 2
    expected = []
    for row, response in enumerate(samples.responses):
        prompt = PROMPTS[row // 3]
        logprobs = alone(policy, prompt + response)[len(prompt) - 1 : -1].log_softmax(dim=-1)
        expected.append(logprobs.gather(1, torch.tensor(response)[:, None])[:, 0])
    torch.testing.assert_close(samples.logprobs, torch.cat(expected), **near(policy))


@torch.no_grad()
def test_greedy_answers_are_those_of_generate(policy: HFPolicy) -> None:
    ours = sample(
        policy, PROMPTS, group_size=1, max_new_tokens=8, stop_ids={2}, pad_id=2, greedy=True
    )
    for prompt, response in zip(PROMPTS, ours.responses, strict=True):
        ids = torch.tensor([prompt])
        theirs = policy.causal.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=2,
            pad_token_id=2,
        )
        assert response == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_models_own_loss(directory: Path, checkpointing: bool) -> None:
    policy = build(directory, gradient_checkpointing=checkpointing)
    policy.eval()
    responses = [[30, 31, 2], [32, 2], [33, 34, 35, 2]]
    batch = collate(PROMPTS, responses, pad_id=2)
    score(policy, batch).logprobs(batch.targets[batch.mask]).sum().backward()
    found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    for prompt, response in zip(PROMPTS, responses, strict=True):
        logprobs = alone(policy, prompt + response)[len(prompt) - 1 : -1].log_softmax(dim=-1)
        logprobs.gather(1, torch.tensor(response)[:, None]).sum().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad, **near(policy))


def test_adapters_start_as_the_model_and_the_model_stays_below_them(directory: Path) -> None:
    plain = build(directory)
    layers = ["in_proj"] if plain.causal.config.model_type in MAMBA else []
    adapted = build(directory, lora=Lora(rank=2, targets=layers))
    ids = torch.tensor([PROMPTS[0]])
    torch.testing.assert_close(adapted(ids), plain(ids))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < sum(p.numel() for p in plain.parameters()) / 2
    for parameter in trained:
        torch.nn.init.normal_(parameter)
    assert not torch.allclose(adapted(ids), plain(ids))
    base = BasePolicy(adapted)
    torch.testing.assert_close(base(ids), plain(ids))
    assert base.to(torch.float64).dtype == adapted.dtype == torch.float64


@pytest.mark.parametrize("family", MAMBA)
def test_layers_that_take_no_adapter_are_refused(tmp_path: Path, family: str) -> None:
    path = make_model(tmp_path / "model", family)
    with pytest.raises(ValueError, match=r"^model.lora.targets=\[\]: .*'out_proj' is incompatible"):
        HFModel(path=str(path), lora=Lora(rank=2)).build()


def test_a_sequence_beyond_the_context_is_refused(directory: Path) -> None:
    policy = HFModel(path=str(directory), context=4).build()
    with pytest.raises(ValueError, match=r"model.context=4: a sequence of 6 tokens does not fit"):
        policy(torch.tensor([PROMPTS[0]]))


def test_attention_for_gpus_is_checked_with_another_and_then_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    forward = LlamaAttention.forward

    def noting(self: LlamaAttention, *args: Any, **settings: Any) -> Any:
        used.append(self.config._attn_implementation)
        return forward(self, *args, **settings)

    monkeypatch.setattr(LlamaAttention, "forward", noting)
    monkeypatch.setattr(trial, "ON_GPU", ("sdpa",))
    policy = HFModel(path=str(make_model(tmp_path / "m")), attention="sdpa").build()
    assert set(used) == {"eager"}
    assert policy.causal.config._attn_implementation == "sdpa"


DROPPING: dict[str, dict[str, Any]] = {
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16, "layerdrop": 0.5, "activation_dropout": 0.3},
    "falcon": ODD["falcon"] | {"hidden_dropout": 0.5, "attention_dropout": 0.3},
    "biogpt": {"layerdrop": 0.5, "hidden_dropout_prob": 0.3, "activation_dropout": 0.3},
    "gpt2": {"resid_pdrop": 0.4, "embd_pdrop": 0.4, "attn_pdrop": 0.4},
    "gpt_bigcode": {"n_positions": 128, "resid_pdrop": 0.4, "embd_pdrop": 0.4, "attn_pdrop": 0.4},
    "llama": {"num_key_value_heads": 1, "attention_dropout": 0.5},
}
"""Families that drop numbers or whole layers in training mode, each with settings of its own."""


@pytest.mark.parametrize("family", DROPPING)
def test_layers_that_are_computed_again_drop_nothing(tmp_path: Path, family: str) -> None:
    path = make_model(tmp_path / "model", family, **DROPPING[family])
    policy = HFModel(path=str(path), gradient_checkpointing=True).build().eval()
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        scored = policy.hidden(ids)
    trained = policy.hidden(ids)
    assert trained.requires_grad
    torch.testing.assert_close(trained, scored, atol=0.0, rtol=0.0)


def test_layers_are_computed_again_for_a_gradient_and_only_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    forward = LlamaAttention.forward

    def noting(self: LlamaAttention, *args: Any, **settings: Any) -> Any:
        computed.append(self.layer_idx)
        return forward(self, *args, **settings)

    path, ids = make_model(tmp_path / "model"), torch.tensor([PROMPTS[0]])
    for recomputed in (False, True):
        policy = HFModel(path=str(path), gradient_checkpointing=recomputed).build().eval()
        monkeypatch.setattr(LlamaAttention, "forward", noting)
        computed.clear()
        policy._packs = False
        with torch.no_grad():
            policy.hidden(ids)
        assert computed == [0, 1]
        policy.hidden(ids).sum().backward()
        assert sorted(computed[2:]) == ([0, 0, 1, 1] if recomputed else [0, 1])
        monkeypatch.undo()


def test_a_model_that_computes_otherwise_for_a_gradient_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def louder(self: LlamaAttention, *args: Any, **settings: Any) -> Any:
        found, *rest = forward(self, *args, **settings)
        return (found * (2 if torch.is_grad_enabled() else 1), *rest)

    forward = LlamaAttention.forward
    monkeypatch.setattr(LlamaAttention, "forward", louder)
    path = str(make_model(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"^model.path=.*: LlamaForCausalLM computes otherwise in"):
        HFModel(path=path, gradient_checkpointing=True).build()


def test_a_model_without_layers_to_compute_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputing, "GradientCheckpointingLayer", torch.nn.Bilinear)
    path = str(make_model(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"^model.gradient_checkpointing=true: LlamaForCausalLM"):
        HFModel(path=path, gradient_checkpointing=True).build()
