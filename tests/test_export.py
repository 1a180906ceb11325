"""What a run leaves can be used without this package, and gives the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trusting
from conftest import compose_config, small_composed
from language_models import ADAPTED, composed, make_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.export import export_run, main
from chord.models.hf.config import HFModel
from chord.models.tiny import Tiny
from chord.run.build import build_data, build_models
from chord.run.directory import RunDirectory
from chord.run.opening import open_run
from chord.run.resuming import resume_run
from chord.run.status import fingerprint
from chord.run.trained import trained_model
from chord.run.training import train
from chord.step.module import ChordModule

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


@torch.no_grad()
def test_the_tiny_model_is_a_llama(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = Tiny(path=None, pretraining_seed=0)
    policy = config.build()
    config.export(policy, tmp_path / "llama")
    assert capfd.readouterr() == ("", "")  # no progress bar of transformers
    llama = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    torch.testing.assert_close(llama(IDS).logits, policy(IDS), atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    text = "47*86=47*6=282;3760+282=4042"
    assert tokenizer(text)["input_ids"] == config.tokenizer().encode(text)
    assert tokenizer.decode(config.tokenizer().encode(text)) == text


def test_both_codes_take_the_same_step(
    tmp_path: Path, small_config: Callable[..., TrainConfig]
) -> None:
    # One set of weights, as a tiny model and as a Llama of transformers: the same rollouts, losses
    # and gradients.
    both = ("trainer.precision=64-true", "schedule=constant", "schedule.value=.5", "teacher=none")
    tiny = small_config(*both, "weighting=phi")
    tiny.model.export(tiny.model.build(), tmp_path / "llama")
    llama = small_config(
        *both, "weighting=phi", "model=hf", f"model.path={tmp_path / 'llama'}", "model.chat=false"
    )
    seen = []
    for config in (tiny, llama):
        module = ChordModule(config, build_data(config), build_models(config))
        module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
        plan = module.plan(0)
        assert plan.rollouts is not None
        sft, rl = module.add_gradients(0, plan)
        assert sft is not None
        assert rl is not None
        head = module.models.policy.get_parameter(
            "head.weight" if config is tiny else "model.lm_head.weight"
        )
        seen.append((plan.rollouts.texts, sft.loss, rl.loss, head.grad))
    assert seen[0][0] == seen[1][0]
    # Llama's norms are in float32 whatever the precision.
    assert seen[0][1:3] == pytest.approx(seen[1][1:3], rel=1e-5, abs=1e-7)
    torch.testing.assert_close(seen[0][3], seen[1][3], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("adapters", [(), ADAPTED])
@torch.no_grad()
def test_adapters_are_merged(tmp_path: Path, adapters: tuple[str, ...]) -> None:
    path = make_model(tmp_path / "model")
    make_model(tmp_path / "model-teacher", seed=1)
    config = composed(path, "optimizer.lr=.1", *adapters)
    train(parse(config, TrainConfig), RunDirectory(tmp_path / "run", config, "run"))
    export_run(tmp_path / "run", tmp_path / "exported")
    trained = trained_model(tmp_path / "run", parse(config, TrainConfig))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    torch.testing.assert_close(exported(IDS).logits, trained(IDS), atol=1e-4, rtol=1e-4)
    start = HFModel(path=str(path)).build()
    assert not torch.allclose(trained(IDS), start(IDS), atol=1e-2)
    # The chat template came along.
    assert HFModel(path=str(tmp_path / "exported")).tokenizer().chat


@torch.no_grad()
def test_files_that_a_run_names_are_found_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters belong to the model of the run, not to another one that has its name elsewhere."""
    make_model(tmp_path / "here" / "model")
    make_model(tmp_path / "there" / "model", seed=1)
    monkeypatch.chdir(tmp_path / "here")
    config = composed(Path("model"), "teacher=none", *ADAPTED)
    assert config.model.path == "model"
    train(parse(config, TrainConfig), RunDirectory(Path("run"), config, "run"))
    export_run(Path("run"), tmp_path / "expected")
    monkeypatch.chdir(tmp_path / "there")
    export_run(Path("../here/run"), Path("exported"))
    files = ("exported/model.safetensors", tmp_path / "expected" / "model.safetensors")
    found, expected = (load_file(file) for file in files)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # A resumed run, too; what was typed stays what it is, and so does its fingerprint.
    run = resume_run(Path("../here/run"), compose_config("resume=x"), [])
    assert run.checked().model == HFModel(
        path=f"{tmp_path}/here/model", lora=parse(config, TrainConfig).model.lora
    )
    status = json.loads(Path("../here/run/status.json").read_text())
    assert status["fingerprint"] == fingerprint(open_run(Path("../here/run")).config)


def test_what_has_come_to_lie_at_the_place_stays(
    tmp_path: Path, small_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_composed(small_models, "steps=1")
    trusting.begun(RunDirectory(tmp_path / "run", config, "run"))
    made = tmp_path / "made"

    def slow(self: object, policy: object, directory: Path, dtype: object) -> None:
        (directory / "model").write_text("ours")
        made.mkdir()
        (made / "theirs").write_text("theirs")

    monkeypatch.setattr("chord.run.trained.trained_model", lambda *_: None)
    monkeypatch.setattr("chord.models.tiny.Tiny.export", slow)
    with pytest.raises(ConfigError, match=r"^--to .*made: something else was written there"):
        export_run(tmp_path / "run", made)
    assert [file.name for file in made.iterdir()] == ["theirs"]
    assert not [path for path in tmp_path.iterdir() if path.name not in ("run", "made")]


def test_what_is_in_the_way_or_missing_is_said_in_one_line(
    tmp_path: Path, small_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_composed(small_models, "steps=1")
    trusting.begun(RunDirectory(tmp_path / "run", config, "run"))
    for arguments, message in (
        ([tmp_path / "run", "--to", tmp_path], f"--to {tmp_path}: exists already; name a new"),
        ([tmp_path / "run", "--to", tmp_path / "new"], "holds neither a final model nor a check"),
        ([tmp_path / "none", "--to", tmp_path / "new"], "no such directory; give a run"),
        ([tmp_path / "run", "--to", "/proc/x"], "--to /proc/x: can't be written ("),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@torch.no_grad()
def test_weights_are_written_in_another_type(
    language_model: Path, tmp_path: Path, dtype: str | None
) -> None:
    """They come back exactly as they are in float32; in bfloat16, rounded to 8 bits."""
    policy = HFModel(path=str(language_model)).build()
    before, logits = policy.causal.state_dict(), policy.causal(IDS).logits
    before = {name: weight.clone() for name, weight in before.items()}
    HFModel(path=str(language_model)).export(policy, tmp_path / "exported", dtype)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    written = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    assert found.dtype == written
    for name, weight in found.state_dict().items():
        assert torch.equal(weight, before[name].to(written)), name
    again = found.float()(IDS).logits
    if written == torch.float32:
        assert torch.equal(again, logits)
    else:
        # Each weight is off by at most 2^-9 of itself.
        assert not torch.equal(again, logits)
        torch.testing.assert_close(again, logits, atol=0.05, rtol=0.05)


def test_the_type_is_one_of_those_that_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--to", "new", "--dtype", "int8"])
    assert "--dtype: invalid choice: 'int8'" in capsys.readouterr().err
