"""`model.run=RUN` of language models: whole, by adapters, exported, from a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from conftest import SMALL, compose_anew
from language_models import ADAPTED, composed, make_model
from omegaconf import DictConfig
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.export import export_run
from chord.models.hf.policy import BasePolicy, HFPolicy
from chord.models.policy import Policy
from chord.run.checkpoint import CHECKPOINT
from chord.run.directory import RunDirectory
from chord.run.fork.model import register_sources
from chord.run.opening import open_run
from chord.run.trained import trained_model
from chord.run.training import train

MOVING = ["optimizer.warmup=0", "optimizer.lr=1e-2", "teacher=none", "trainer.keep.every=1"]


@pytest.fixture(autouse=True)
def sources() -> None:
    register_sources()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "model")


def run_of(path: Path, config: DictConfig) -> Path:
    run = RunDirectory(path, config, "run")
    train(run.checked(), run)
    return path


@pytest.fixture(scope="module")
def whole(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole") / "run"
    return run_of(place, composed(directory, *MOVING, "model.chat=false"))


@pytest.fixture(scope="module")
def adapted(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(
        tmp_path_factory.mktemp("adapted") / "run", composed(directory, *MOVING, *ADAPTED)
    )


def from_run(run: Path, *words: str) -> DictConfig:
    return compose_anew(*SMALL, *MOVING, f"model.run={run}", *words)


def model(config: DictConfig) -> tuple[HFPolicy, Policy]:
    """The policy and its reference."""
    chosen = parse(config, TrainConfig).model
    policy = chosen.build()
    assert isinstance(policy, HFPolicy)
    return policy, chosen.reference(policy)


def trained(run: Path) -> Mapping[str, Tensor]:
    return trained_model(run, open_run(run).checked()).state_dict()


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def features(policy: Policy) -> Tensor:
    with torch.no_grad():
        return policy.hidden(torch.tensor([[5, 6, 7, 8]]))


def test_a_whole_model_is_the_base_of_the_next_run(whole: Path, directory: Path) -> None:
    config = from_run(whole)
    # As the run that trained it had it.
    assert config.model.chat is False
    policy, _ = model(config)
    assert same(policy.state_dict(), trained(whole))
    # New adapters are put into it, and its reference is the model without them.
    policy, reference = model(from_run(whole, *ADAPTED))
    assert isinstance(reference, BasePolicy)
    # With adapters, transformers computes the features, and otherwise chord.
    torch.testing.assert_close(features(policy), features(model(config)[0]))


def test_adapters_are_trained_further_beside_the_same_base(adapted: Path, tmp_path: Path) -> None:
    config = from_run(adapted)
    policy, reference = model(config)
    assert same(policy.state_dict(), trained(adapted))
    # The reference is what the run starts from, not the base without adapters.
    assert torch.equal(features(reference), features(policy))
    with policy.without_adapters():
        assert not torch.equal(features(reference), features(policy))
    new = run_of(tmp_path / "new", config)
    assert not same(trained(new), trained(adapted))
    third, _ = model(from_run(new))
    assert same(third.state_dict(), trained(new))


def test_a_chosen_option_takes_the_settings_of_the_run(adapted: Path) -> None:
    plain, typed = from_run(adapted), from_run(adapted, "model=hf", "model.context=64")
    assert typed.model.context == 64
    plain.model.context = 64
    assert typed.model == plain.model


@pytest.mark.parametrize("kind", ["whole", "adapted"])
def test_a_checkpoint_may_be_chosen(kind: str, request: pytest.FixtureRequest) -> None:
    run: Path = request.getfixturevalue(kind)
    file = run / CHECKPOINT.parent / "step-1.ckpt"
    policy, _ = model(from_run(run, "checkpoint=1"))
    state, own = torch.load(file, weights_only=True)["state_dict"], policy.state_dict()
    assert all(torch.equal(own[name.removeprefix("policy.")], w) for name, w in state.items())
    assert not same(own, trained(run))


def test_an_export_is_a_model_like_any_other(adapted: Path, tmp_path: Path) -> None:
    export_run(adapted, tmp_path / "export")
    policy, _ = model(from_run(tmp_path / "export"))
    torch.testing.assert_close(features(policy), features(model(from_run(adapted))[0]))


def test_adapters_alone_bring_their_base(adapted: Path, directory: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(adapted / "model", tmp_path / "alone"))
    config = from_run(alone)
    assert config.model.path == str(directory)
    assert same(model(config)[0].state_dict(), trained(adapted))
    moved = Path(shutil.copytree(directory, tmp_path / "moved"))
    assert from_run(alone, f"model.path={moved}").model.path == str(moved)
    settings = alone / "adapter_config.json"
    known = json.loads(settings.read_text())
    settings.write_text(json.dumps({**known, "use_rslora": True}))
    with pytest.raises(ConfigError, match=r"^model\.run=.*: its adapters have use_rslora=True, w"):
        from_run(alone)
    settings.write_text(json.dumps({**known, "base_model_name_or_path": "pkg://x/y"}))
    with pytest.raises(ConfigError, match=r"^model\.run=.* names pkg://x/y; type model\.path=pkg:"):
        from_run(alone)


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("adapted", ["model.lora.rank=3"], "model.lora.rank=3: model.run={run} has model.lora.ra"),
        ("adapted", ["model.lora.alpha=3"], "model.lora.alpha=3.0: model.run={run} has model.lor"),
        ("adapted", ["model.lora.rank=0"], "model.lora.rank=0: model.run={run} has model.lora.ra"),
        ("adapted", ["model.path=x"], "model.path=x: model.run={run} has model.path="),
        (
            "whole",
            ["checkpoint=1", "model.lora.rank=2"],
            "model.lora.rank=2: model.run={run} has model.lora.rank=0, and new adapters need a ",
        ),
    ],
)
def test_other_settings_of_the_adapters_are_refused(
    kind: str, words: list[str], message: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(kind)
    with pytest.raises(ConfigError) as raised:
        from_run(run, *words)
    assert str(raised.value).startswith(message.format(run=run))


def test_adapters_of_another_shape_are_refused(adapted: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", hidden_size=24)
    alone = Path(shutil.copytree(adapted / "model", tmp_path / "alone"))
    with pytest.raises(ConfigError, match=r"^model\.run=.*: its adapters can't be read \(.* is no"):
        model(from_run(alone, f"model.path={other}"))


def test_a_base_that_has_changed_is_refused(directory: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(directory, tmp_path / "base"))
    run = run_of(tmp_path / "run", composed(base, *MOVING, *ADAPTED))
    make_model(base, seed=3)
    with pytest.raises(ConfigError, match=r"^model\.path=.* since model\.run=.* began, and what s"):
        run_of(tmp_path / "new", from_run(run))
