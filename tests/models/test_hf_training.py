"""Language models are trained by the same step as the tiny one, whole or by adapters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torch._dynamo.utils
from conftest import compose_anew
from language_models import ADAPTED, FAMILIES, ODD, STATES, composed, make_model, make_tokenizer
from safetensors.torch import load_file
from steps import gradient, metrics_of, module_of, plan_gradient, score_as
from transformers import AutoTokenizer

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.models import scoring
from chord.plan.calibration import calibrate
from chord.run.checkpoint import CHECKPOINT
from chord.run.directory import RunDirectory
from chord.run.fork.model import register_sources
from chord.run.opening import open_run
from chord.run.trained import trained_model
from chord.run.training import train
from chord.sweep.beforehand import check_run


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    make_model(path.with_name("model-teacher"), seed=1)
    return make_model(path)


def config_of(directory: Path, *overrides: str) -> TrainConfig:
    return parse(composed(directory, *overrides), TrainConfig)


def run(where: Path, directory: Path, *overrides: str) -> RunDirectory:
    """Train in `where`."""
    config = composed(directory, *overrides)
    this = RunDirectory(where, config, "run")
    train(parse(config, TrainConfig), this)
    return this


def test_a_fork_of_adapters_begins_with_those_of_the_checkpoint(
    tmp_path: Path, directory: Path
) -> None:
    register_sources()
    words = ["optimizer.warmup=0", "trainer.keep.every=1", "steps=2", "trainer.checkpoint_every=1"]
    run(tmp_path / "run", directory, *words, *ADAPTED)
    config = compose_anew(f"fork={tmp_path}/run", "checkpoint=1", "optimizer.lr=1e-3")
    fork = RunDirectory(tmp_path / "fork", config, "fork")
    train(fork.checked(), fork)
    names = ("step-0.ckpt", "step-1.ckpt", "step-2.ckpt")
    files = [tmp_path / "fork" / CHECKPOINT.parent / name for name in names]
    states = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    before = torch.load(tmp_path / "run" / CHECKPOINT.parent / names[1], weights_only=True)
    assert all(torch.equal(states[0][name], w) for name, w in before["state_dict"].items())
    assert all("lora_" in name for name in states[1])
    assert states[1].keys() == states[0].keys()
    assert not all(torch.equal(states[1][name], states[0][name]) for name in states[0])
    step_0 = trained_model(fork.path, fork.checked(), files[0]).state_dict()
    assert all(
        torch.equal(step_0[name.removeprefix("policy.")], w) for name, w in states[0].items()
    )


@pytest.mark.parametrize("adapters", [(), ADAPTED])
def test_a_run_trains_saves_and_is_read_back(
    tmp_path: Path, directory: Path, adapters: tuple[str, ...]
) -> None:
    run(tmp_path / "run", directory, "optimizer.warmup=0", *adapters)
    config = config_of(directory, *adapters)
    trained, start = trained_model(tmp_path / "run", config), config.model.build()
    moved = [
        name
        for (name, after), before in zip(
            trained.named_parameters(), start.parameters(), strict=True
        )
        if not torch.equal(after, before)
    ]
    assert moved
    assert all("lora_" in name for name in moved) == bool(adapters)
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["state_dict"]
    # Of an adapted model the adapters alone are kept, in checkpoints and at the end.
    assert all("lora_" in name for name in state) == bool(adapters)
    files = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert ("adapter_model.safetensors" if adapters else "model.safetensors") in files


def test_a_tokenizer_may_have_more_tokens_than_the_model(tmp_path: Path) -> None:
    path, larger = make_model(tmp_path / "model"), make_tokenizer()
    larger.add_tokens(["<image>"], special_tokens=True)
    larger.save_pretrained(path)
    trained = run(tmp_path / "run", path, "teacher=none").path / "model"
    assert AutoTokenizer.from_pretrained(trained).get_vocab() == larger.get_vocab()
    # The digits of the test bed's problems are no tokens of the model.
    few = len(larger) - 1 - (126 - ord("0"))
    make_model(tmp_path / "few", vocab_size=few)
    with pytest.raises(ConfigError, match=rf"^model.path=.*few: the token .* has {few} tokens"):
        run(tmp_path / "other", tmp_path / "few", "teacher=none")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_half_precision_are_not_trained(
    tmp_path: Path, directory: Path, dtype: str
) -> None:
    message = (
        rf"^model\.dtype={dtype}: weights of half precision lose .*\(model\.lora\.rank=16\), or"
    )
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", directory, f"model.dtype={dtype}")
    config = config_of(directory, f"model.dtype={dtype}", "teacher.dtype=bfloat16")
    for check in (check_run, lambda config: calibrate(config, 1, began=0.0)):
        with pytest.raises(ValueError, match=message):
            check(config)
    # What is only asked may be of any precision, and so may what adapters are put into.
    assert next(config.model.build().parameters()).dtype == getattr(torch, dtype)
    run(tmp_path / "run", directory, f"model.dtype={dtype}", "teacher.dtype=bfloat16", *ADAPTED)


@pytest.mark.parametrize("adapters", [(), ADAPTED])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, directory: Path, adapters: tuple[str, ...]
) -> None:
    run(tmp_path / "whole", directory, "steps=3", *adapters)
    run(tmp_path / "cut", directory, "steps=2", *adapters)
    resumed = open_run(tmp_path / "cut")
    resumed.config.resume, resumed.config.steps = str(tmp_path / "cut"), 3
    train(parse(resumed.config, TrainConfig), resumed)
    name = "adapter_model.safetensors" if adapters else "model.safetensors"
    whole, cut = (load_file(tmp_path / run / "model" / name) for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


@pytest.mark.parametrize("family", [*FAMILIES, *STATES, *ODD])
def test_answers_are_as_likely_in_training_as_when_they_were_sampled(
    tmp_path: Path, family: str
) -> None:
    """Layers may know the cache of one, but not the shared prompts of the other."""
    path = make_model(tmp_path / "model", family)
    overrides = ("steps=1", "schedule=rl_only", "teacher=none", "rollout.group_size=8")
    (row,) = metrics_of(config_of(path, *overrides))
    assert 0 <= row["rl/logprob_gap"] < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("weighting=adaptive", "target=soft"),
        ("weighting=top_k_entropy", "objective.entropy_coef=.01", "weighting.apply_to=both"),
        ("objective.kl.coef=.1", "objective.kl.estimator=exact", "objective.kl.to=teacher"),
        ("objective.kl.coef=.1", "objective.kl.estimator=k3"),
        ("weighting=trust_region",),
    ],
)
def test_pieces_of_logits_change_no_gradient(
    directory: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = ("trainer.precision=64-true", "schedule=constant", "schedule.value=.5")
    config = config_of(directory, *mixed, *settings)
    gradients = []
    for piece in (scoring.PIECE, 700):
        monkeypatch.setattr(scoring, "PIECE", piece)
        module = module_of(config)
        score_as(module, lambda step: [[1, 0], [0, 1]])
        module.add_gradients(0, module.plan(0))
        gradients.append(gradient(module.policy))
    assert gradients[0].abs().max() > 1e-6
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-12, rtol=1e-9)


@pytest.mark.slow
# The compiler warns within itself.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_sample_and_learn_the_same(directory: Path) -> None:
    """Graphs are compiled for the gradient, none for sampling.

    Norms are float32 in Llama's code, whatever the weights are.
    """
    taken = []
    for compiled in ("false", "true"):
        config = config_of(directory, "trainer.precision=64-true", f"model.compile={compiled}")
        module = module_of(config)
        score_as(module, lambda step: [[1, 0], [0, 1]])
        plan = module.plan(0)
        sampled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        taken.append((plan, plan_gradient(module, plan), sampled))
    (written, expected, before), (plan, found, sampled) = taken
    assert written.rollouts is not None
    assert plan.rollouts is not None
    assert torch.equal(plan.rollouts.rows.tokens.input_ids, written.rollouts.rows.tokens.input_ids)
    assert sampled == before
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > sampled
    assert (found - expected).norm() < 2e-6 * expected.norm()
