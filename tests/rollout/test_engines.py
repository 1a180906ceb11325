"""Engines answer as the policy would, are given its weights, and their answers are scored by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIGNAL, compose_config
from language_models import make_model
from safetensors.torch import load_file
from steps import module_of, plan_gradient

from chord.config.root import TrainConfig
from chord.data.tasks import ALPHABET
from chord.data.tokenizer import CharTokenizer
from chord.errors import ConfigError
from chord.models.hf.config import HFModel
from chord.models.hf.merged import merged_weights
from chord.models.hf.settings import Lora
from chord.models.policy import Policy
from chord.models.tiny import Tiny
from chord.rollout import RolloutConfig, Samples, draw_uniforms
from chord.rollout.engines import Engine, Native, base
from chord.rollout.engines.base import Draft
from chord.rollout.engines.hf import Generate
from chord.run.directory import RunDirectory
from chord.run.training import train

PROMPTS = [[5, 6, 7], [8], [9, 10]]
LIMITS = [6, 2, 5]


@pytest.fixture(params=["tiny", "llama", "gpt2", "gemma2", "lfm2", "mamba", "adapted"])
def model(request: pytest.FixtureRequest, small_models: Path, tmp_path: Path) -> Tiny | HFModel:
    if request.param == "tiny":
        return Tiny(path=f"{small_models}/base.safetensors", pretraining_seed=0)
    if request.param == "adapted":
        return HFModel(path=str(make_model(tmp_path / "m")), lora=Lora(rank=2))
    return HFModel(path=str(make_model(tmp_path / "m", request.param)))


def build(model: Tiny | HFModel) -> Policy:
    policy = model.build()
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy.eval()


def answers(engine: Engine, policy: Policy) -> Samples:
    engine.sync(policy)
    return engine.sample(
        policy,
        PROMPTS,
        group_size=4,
        limits=LIMITS,
        uniforms=draw_uniforms(3, 1, keys=[1, 2, 3], group_size=4, max_new_tokens=6),
    )


def generate(config: RolloutConfig, model: Tiny | HFModel) -> Generate:
    return Generate(config, CharTokenizer(ALPHABET), model=model, micro_batch=3)


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.7}, {"top_k": 3}], ids=["plain", "temperature", "top_k"]
)
@pytest.mark.filterwarnings("ignore:rollout.top_k")
def test_generate_answers_as_the_native_sampler_does(
    model: Tiny | HFModel, settings: dict[str, Any]
) -> None:
    config, policy = RolloutConfig(max_new_tokens=6, **settings), build(model)
    own = answers(Native(config, CharTokenizer(ALPHABET)), policy)
    found = answers(generate(config, model), policy)
    assert found.responses == own.responses
    assert found.finished == own.finished
    assert any(found.finished) or isinstance(model, HFModel)
    assert len({len(response) for response in found.responses}) > 1
    told = found.sampler_logprobs
    assert told is not None
    for logprobs in (told, found.logprobs):
        torch.testing.assert_close(logprobs, own.logprobs, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.entropies, own.entropies, atol=1e-4, rtol=0)


def test_what_a_model_wants_of_generate_changes_nothing(tmp_path: Path) -> None:
    model = HFModel(path=str(make_model(tmp_path / "m")))
    config, policy = RolloutConfig(max_new_tokens=6), build(model)
    before = answers(generate(config, model), policy)
    own: Any = model.causal(policy).generation_config
    own.repetition_penalty, own.min_new_tokens = 5.0, 6
    after = answers(generate(config, model), policy)
    assert after.responses == before.responses
    assert model.causal(policy).generation_config.repetition_penalty == 5.0


def test_answers_follow_the_weights(model: Tiny | HFModel) -> None:
    config, policy = RolloutConfig(max_new_tokens=6), build(model)
    engine = generate(config, model)
    before = answers(engine, policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    after = answers(engine, policy)
    assert after.responses != before.responses
    assert after.responses == answers(Native(config, CharTokenizer(ALPHABET)), policy).responses


SETTINGS = ("schedule=constant", "schedule.value=.3", "trainer.precision=64-true")


@pytest.mark.parametrize(
    "settings", [(), ("rollout.prefix=uniform", "data.pairing=paired"), ("objective.resample=1",)]
)
def test_a_step_has_the_native_gradient(
    small_config: Callable[..., TrainConfig], settings: Sequence[str]
) -> None:
    found = []
    for engine in ("native", "hf"):
        module = module_of(small_config(*SETTINGS, f"rollout.engine={engine}", SIGNAL, *settings))
        plan = module.plan(0)
        assert plan.rollouts is not None
        assert plan.rollouts.rows.advantages.any()
        found.append(plan_gradient(module, plan))
    assert float(found[0].abs().max()) > 1e-6
    torch.testing.assert_close(found[1], found[0], atol=1e-10, rtol=0)


@pytest.fixture
def tilted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that finds each token e^.1 times as probable as it is."""
    plain = Generate.generate

    def generate(*arguments: Any) -> list[Draft]:
        return [
            Draft(draft.tokens, [value + 0.1 for value in draft.logprobs], draft.finished)
            for draft in plain(*arguments)
        ]

    monkeypatch.setattr(Generate, "generate", generate)


@pytest.mark.usefixtures("tilted")
def test_what_the_engine_gets_wrong_is_measured_and_corrected(
    small_config: Callable[..., TrainConfig],
) -> None:
    # Every |d| is .1 but for float32 in generate, so every weight is e^-.1.
    settings = (*SETTINGS, "rollout.engine=hf", "rollout.expert_in_group=1", "data.pairing=paired")
    module = module_of(small_config(*settings))
    plan = module.plan(0)
    assert plan.rollouts is not None
    metrics = plan.rollouts.metrics()
    assert metrics["rollout/mismatch_mean"] == pytest.approx(0.1, abs=1e-5)
    assert metrics["rollout/mismatch_max"] == pytest.approx(0.1, abs=1e-5)
    assert metrics["rollout/mismatch_ratio"] == pytest.approx(math.exp(-0.1), abs=1e-5)
    assert metrics["rollout/correction_mean"] == pytest.approx(math.exp(-0.1), abs=1e-5)
    assert metrics["rollout/correction_capped"] == 0
    rows = plan.rollouts.rows
    assert rows.correction is not None
    own = rows.own().tokens.mask
    wanted = torch.full_like(rows.correction[own], math.exp(-0.1))
    torch.testing.assert_close(rows.correction[own], wanted, atol=1e-5, rtol=0)
    # The ratio is taken to the policy's own probabilities, so it is 1 at first.
    seen = module.add_rl(plan)
    assert seen is not None
    assert seen.sums["ratio"] == sum(part.numel() for part in seen.logprobs)


@pytest.mark.usefixtures("tilted")
def test_below_the_threshold_nothing_is_weighted(small_config: Callable[..., TrainConfig]) -> None:
    config = small_config(*SETTINGS, "rollout.engine=hf", "rollout.correction_threshold=.11")
    rollouts = module_of(config).plan(0).rollouts
    assert rollouts is not None
    assert rollouts.rows.correction is None
    assert "rollout/mismatch_mean" in rollouts.metrics()


def test_native_answers_are_neither_compared_nor_weighted(
    small_config: Callable[..., TrainConfig],
) -> None:
    rollouts = module_of(small_config(*SETTINGS, "rollout.correction_threshold=0")).plan(0).rollouts
    assert rollouts is not None
    assert rollouts.rows.correction is None
    assert not [name for name in rollouts.metrics() if "mismatch" in name or "correction" in name]


def test_merged_weights_are_those_of_a_merged_model_which_stays_apart(tmp_path: Path) -> None:
    model = HFModel(path=str(make_model(tmp_path / "m")), lora=Lora(rank=2, alpha=6.0))
    policy = build(model)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    found = dict(merged_weights(model.causal(policy)))
    for name, value in policy.state_dict().items():
        assert torch.equal(value, before[name])
    model.export(policy, tmp_path / "whole")
    saved = load_file(tmp_path / "whole" / "model.safetensors")
    assert found.keys() == saved.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, saved[name], atol=1e-6, rtol=0)


def test_an_adapter_on_a_head_that_is_the_embedding_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "m", tie_word_embeddings=True)
    tied = HFModel(path=str(path))
    names = [name for name, _ in merged_weights(tied.causal(tied.build()))]
    assert "lm_head.weight" not in names
    adapted = HFModel(path=str(path), lora=Lora(rank=2, targets=["q_proj", "lm_head"]))
    with pytest.raises(ValueError, match=r"^model\.lora\.targets=.*: lm_head shares its weight"):
        adapted.build()
    own = make_model(tmp_path / "own", tie_word_embeddings=False)
    HFModel(path=str(own), lora=Lora(rank=2, targets=["q_proj", "lm_head"])).build()


@pytest.mark.usefixtures("tilted")
def test_an_engine_that_computes_another_model_is_refused(
    small_config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "APART", 0.05)
    config = small_config("rollout=hf")
    with pytest.raises(ConfigError) as caught:
        train(config, RunDirectory(tmp_path / "run", compose_config(), "run"))
    assert str(caught.value) == (
        "rollout=hf: the engine's log-probabilities are 0.1 nats from the policy's, so it computes "
        "another model; use rollout=native"
    )
