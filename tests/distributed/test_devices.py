"""A train step on a device of its own, simulated: nothing in it meets a tensor of the CPU."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import trusting
from conftest import SIGNAL, SMALL, compose_config, small_composed
from language_models import make_model
from safetensors.torch import load_file
from simulated_device import CPU, DEVICE, OnDevice, simulated, to_device
from steps import module_of
from torch import Tensor

from chord import chat
from chord.cache_teacher import cache_teacher
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.config.trainer import TrainerConfig
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.evaluation.report import Report, evaluate
from chord.models.decoder import Decoder
from chord.models.policy import Policy
from chord.models.tiny import MODEL, Tiny
from chord.models.transformer import Transformer
from chord.run.directory import RunDirectory
from chord.run.loop import Outcome, Training
from chord.run.opening import configuration, open_run
from chord.run.training import train
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule
from chord.step.optimizer import take_step

STEP = (
    "trainer.diagnostics_every=0",
    "trainer.precision=64-true",
    "schedule=constant",
    "schedule.value=.5",
    "evaluation.max_new_tokens=4",
    SIGNAL,
)
RULES = {
    "chord": ("weighting=phi", "trainer.micro_batch=2"),
    "ranking": ("weighting=top_entropy", "weighting.apply_to=both", "trainer.micro_batch=2"),
    "teacher": ("weighting=adaptive", "target=soft"),
    "kl": ("objective.kl.coef=.1", "objective.kl.where=reward", "advantage=reinforce++"),
    "gate": ("gate=solve_rate", "data.pairing=paired"),
    "expert in group": ("rollout=expert_in_group", "data.pairing=paired", "advantage=luffy"),
    "own samples": ("target=reverse_kl", "rollout.temperature=1.0"),
}


def moved(module: ChordModule) -> ChordModule:
    """All models of a module on the simulated device."""
    for model in (module.models.policy, module.models.teacher, module.models.reference):
        if model is not None:
            to_device(model)
    return module


def test_what_is_made_without_numbers_stays_so() -> None:
    # transformers builds a model on "meta" and computes its buffers when they get their memory.
    with simulated():
        assert torch.empty(2, device="meta").is_meta


def numbers(module: ChordModule) -> dict[str, float]:
    """The metrics of a step, with the norm of its gradient, and of an evaluation after it."""
    plan = module.plan(0)
    sft, rl = module.add_gradients(0, plan)
    found = plan.metrics | branch_metrics(plan.shares, sft, rl, own=plan.own)
    assert plan.rollouts is not None
    found |= plan.rollouts.metrics()
    assert plan.rollouts.completions(2)
    config = module.config
    optimizer: Any = config.optimizer.build(module.trainable())
    found |= take_step(optimizer, module.trainable(), clip=1e-2)[0]
    places = {parameter.device for parameter in module.trainable()}
    assert {p.grad.device for p in module.trainable() if p.grad is not None} == places
    moments = [m for state in optimizer.state.values() for m in state.values() if m.dim() > 0]
    assert {moment.device for moment in moments} == places
    report = evaluate(
        module.policy, module.data, config.evaluation, config.reward, split="val", alpha=0.5
    )
    return found | report.metrics


def compare(config: TrainConfig) -> None:
    expected = numbers(module_of(config))
    module = moved(module_of(config))
    with simulated():
        found = numbers(module)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_step_stays_on_its_device(small_models: Path, rule: str) -> None:
    compare(parse(small_composed(small_models, *STEP, *RULES[rule]), TrainConfig))


@pytest.mark.parametrize("adapters", [(), ("model.lora.rank=2",)], ids=["whole", "adapters"])
def test_a_step_of_a_language_model_stays_on_its_device(
    tmp_path: Path, adapters: tuple[str, ...]
) -> None:
    path = make_model(tmp_path / "model")
    model = ("model=hf", f"model.path={path}", "teacher=none", "objective.kl.coef=.1", *adapters)
    compare(parse(compose_config(*SMALL, *model, *STEP), TrainConfig))


def test_the_simulation_refuses_what_a_device_refuses() -> None:
    with simulated():
        here: Tensor = torch.ones(3, device=DEVICE)
        assert isinstance(here, OnDevice)
        assert (here * torch.tensor(2.0)).tolist() == [2, 2, 2]
        assert here[torch.tensor([0])].tolist() == [1]
        with pytest.raises(RuntimeError, match="expected all tensors on"):
            here + torch.ones(3)
        with pytest.raises(RuntimeError, match="expected all tensors on"):
            torch.ones(3)[torch.tensor([0], device=DEVICE)]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> set[torch.device]:
    """Runs are of the simulated device, to which whole models can be moved; where they computed."""
    found: set[torch.device] = set()
    decoded = Decoder._run

    def seen(self: Decoder, *arguments: Any, **given: Any) -> Tensor:
        found.add(self.embedding.device)
        return decoded(self, *arguments, **given)

    monkeypatch.setattr(Decoder, "_run", seen)
    monkeypatch.setattr(TrainerConfig, "device", lambda self: DEVICE)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    return found


@pytest.mark.slow
def test_evaluate_and_chat_compute_on_the_runs_device(
    small_models: Path,
    tmp_path: Path,
    places: set[torch.device],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    composed = small_composed(small_models, "evaluation.every=0")
    expected = train(parse(composed, TrainConfig), RunDirectory(tmp_path, composed, "run"))
    assert expected is not None
    places.clear()
    asked = compose_config(*(s for s in SMALL if s.startswith("evaluation")), name="evaluate")
    with simulated():
        found = evaluate_run(tmp_path, parse(asked, EvaluateConfig))
        monkeypatch.setattr("sys.stdin", io.StringIO("47*86=\n"))
        chat.main([str(tmp_path)])
    assert places == {DEVICE}
    for report, other in zip(found, (expected.base, expected.trained), strict=True):
        assert report.metrics == pytest.approx(other.metrics, abs=1e-9)
    assert capsys.readouterr().out.count("trained: ") == 1


@pytest.mark.slow
def test_a_run_ends_with_its_model_saved_and_one_model_at_a_time_on_the_device(
    small_models: Path, tmp_path: Path, places: set[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = small_composed(small_models, "evaluation.every=0", "target=soft", "steps=1")
    composed.objective.kl.coef = 0.1
    built, seen = [], []
    build, finish = Tiny.build, Training.finish

    def counted(self: Tiny) -> Transformer:
        built.append(build(self))
        return built[-1]

    def finishing(self: Training, module: ChordModule, device: torch.device) -> Outcome | None:
        models = module.models
        assert models.teacher is not None
        assert models.reference is not None
        with simulated():
            to_device(models.teacher)
            to_device(models.reference)
            return finish(self, module, DEVICE)

    def evaluated(policy: Policy, *arguments: Any, **given: Any) -> Report:
        if given["split"] == "test":
            assert (tmp_path / MODEL).exists()
            seen.append([policy is model for model in built if model.device == DEVICE])
        return evaluate(policy, *arguments, **given)

    monkeypatch.setattr(Tiny, "build", counted)
    monkeypatch.setattr(Training, "finish", finishing)
    monkeypatch.setattr("chord.run.build.evaluate", evaluated)
    found = train(parse(composed, TrainConfig), RunDirectory(tmp_path, composed, "run"))
    # Policy and reference, of which the one that is evaluated is on the device.
    assert len(built) == 2
    assert seen == [[True], [True]]
    assert found is not None
    assert found.module.models.teacher is not None
    assert {found.module.models.teacher.device, *(model.device for model in built)} == {CPU}


def test_evaluate_computes_in_the_runs_precision(small_models: Path, tmp_path: Path) -> None:
    composed = small_composed(small_models, "evaluation.every=0", "trainer.precision=bf16-mixed")
    expected = train(parse(composed, TrainConfig), RunDirectory(tmp_path, composed, "run"))
    assert expected is not None
    asked = compose_config(*(s for s in SMALL if s.startswith("evaluation")), name="evaluate")
    found = evaluate_run(tmp_path, parse(asked, EvaluateConfig))
    assert found[0].metrics == expected.base.metrics
    assert found[1].metrics == expected.trained.metrics


def test_a_teacher_is_cached_on_the_runs_device(
    small_models: Path, tmp_path: Path, places: set[torch.device]
) -> None:
    settings = ["data.expert_pairs=5", f"teacher.path={small_models}/teacher.safetensors"]
    with simulated():
        cache_teacher(tmp_path / "there.safetensors", 4, settings)
    assert places == {DEVICE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainerConfig, "device", lambda self: torch.device("cpu"))
        cache_teacher(tmp_path / "here.safetensors", 4, settings)
    here, there = (load_file(tmp_path / f"{name}.safetensors") for name in ("here", "there"))
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_a_run_of_a_missing_gpu_is_looked_at_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    devices = [
        parse(compose_config(f"trainer.accelerator={name}"), TrainConfig).trainer.device()
        for name in ("cpu", "auto", "gpu")
    ]
    assert devices == [torch.device("cpu")] * 3
    line = "trainer.accelerator=gpu: there is no GPU here that torch can use; on the CPU\n"
    assert capsys.readouterr().err == line
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given = parse(compose_config("trainer=gpu"), TrainConfig).trainer
    assert given.device() == torch.device("cuda")


def test_a_run_of_more_processors_is_looked_at_with_those_that_are_there(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = small_composed(small_models)
    composed.threads = 64
    trusting.begun(RunDirectory(tmp_path, composed, "run"))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"threads=64: must be within \[1, 2\]"):
        parse(open_run(tmp_path).config, TrainConfig)
    assert configuration(tmp_path).threads == 2
