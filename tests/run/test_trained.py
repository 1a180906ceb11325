"""A run's model is the one that the run wrote: what lies in its place from elsewhere is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trusting
from conftest import SMALL, compose_anew, compose_config, small_composed

from chord import chat
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.doctor.directory import directory
from chord.doctor.finding import WRONG
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.export import export_run
from chord.io.hashes import file_hash
from chord.replay.command import replay
from chord.run.directory import RunDirectory
from chord.run.files import FINISHED, read_status
from chord.run.fork.model import register_sources
from chord.run.fork.start import begin_from_model
from chord.run.identity.contents import contents
from chord.run.resuming import resume_run
from chord.run.status import begin, record
from chord.run.trained import final_hashes, refuse_foreign_model, trained_model
from chord.run.training import train

MODEL = "model.safetensors"
QUICK = ("evaluation=quick", *(word for word in SMALL if word.startswith("evaluation.")))


@pytest.fixture(scope="module")
def both(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of two finished runs, `0` and `1`, that differ in the seed."""
    place = tmp_path_factory.mktemp("both")
    for seed in "01":
        composed = small_composed(small_models, f"seed={seed}", "trainer.keep.every=1")
        train(parse(composed, TrainConfig), RunDirectory(place / seed, composed, "run"))
    return place


@pytest.fixture
def run(both: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(both / "0", tmp_path / "run"))


def evaluate(run: Path, checkpoint: str | None) -> None:
    words = [] if checkpoint is None else [f"checkpoint={checkpoint}"]
    config = compose_config(*QUICK, *words, name="evaluate")
    evaluate_run(run, parse(config, EvaluateConfig))


def export(run: Path, checkpoint: str | None) -> None:
    export_run(run, run.parent / "exported", checkpoint)


def talk(run: Path, checkpoint: str | None) -> None:
    words = [] if checkpoint is None else ["--checkpoint", checkpoint]
    with chat.loaded(chat.parser().parse_args([str(run), *words])):
        pass


@pytest.mark.faults
@pytest.mark.parametrize("command", [evaluate, export, talk], ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("file", "checkpoint", "reason"),
    [
        (MODEL, None, f"{MODEL} is not as this run wrote it"),
        ("checkpoints/step-1.ckpt", "1", "another run wrote it"),
    ],
)
def test_weights_of_another_run_are_refused_by_every_command(
    both: Path,
    run: Path,
    command: Callable[[Path, str | None], None],
    file: str,
    checkpoint: str | None,
    reason: str,
) -> None:
    shutil.copy(both / "1" / file, run / file)
    with pytest.raises(ConfigError) as refused:
        command(run, checkpoint)
    assert reason in str(refused.value)
    assert file in str(refused.value)
    (found,) = [finding for finding in directory(run) if finding.mark == WRONG]
    assert reason in found.what


def test_a_checkpoint_under_the_name_of_another_step_is_refused(run: Path) -> None:
    shutil.copy(run / "checkpoints" / "step-2.ckpt", run / "checkpoints" / "step-1.ckpt")
    with pytest.raises(ConfigError, match="it was written after step 2"):
        export(run, "1")


def test_a_checkpoint_of_step_0_is_only_that_of_the_source_of_a_fork(both: Path, run: Path) -> None:
    shutil.copy(both / "1" / "checkpoints" / "step-1.ckpt", run / "checkpoints" / "step-0.ckpt")
    with pytest.raises(
        ConfigError, match=r"step-0\.ckpt is not the checkpoint that this run start"
    ):
        export(run, "0")


def without(run: Path, lost: str) -> None:
    """Take something out of the status of a run, or (`status.json`) all of it."""
    file = run / "status.json"
    facts = json.loads(file.read_text())
    if lost == file.name:
        file.unlink()
    else:
        del facts[lost]
        file.write_text(json.dumps(facts))


def repeat(run: Path, _: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # It is read before; the run has none.
        patch.setattr("chord.step.nonfinite.saved.load_step", lambda _: (None, {}))
        replay(run)


def fork(run: Path, _: str | None) -> None:
    register_sources()
    compose_anew(f"fork={run}")


def begin_with(run: Path, _: str | None) -> None:
    register_sources()
    compose_anew(*SMALL, f"model.run={run}")


READERS = [evaluate, export, talk, repeat, fork, begin_with]


@pytest.mark.faults
@pytest.mark.parametrize("command", READERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ("status.json", "status.json is missing"),
        ("fingerprint", "status.json has no fingerprint"),
        ("model", "status.json has no hash of the final model"),
        (None, "status.json has the fingerprint of another configuration"),
    ],
)
def test_a_run_whose_status_does_not_tell_which_model_it_wrote_is_refused_by_every_command(
    both: Path,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[Path, str | None], None],
    lost: str | None,
    reason: str,
) -> None:
    shutil.copy(both / "1" / MODEL, run / MODEL)
    if lost is None:
        shutil.copy(both / "1" / "status.json", run)
    else:
        without(run, lost)
    name = {"fork": "fork", "begin_with": "model.run"}.get(command.__name__, "run")
    with pytest.raises(ConfigError) as refused:
        command(run, None)
    assert str(refused.value).startswith(f"{name}={run}: {reason}")
    assert "from a backup" in str(refused.value)
    assert "warning" not in capsys.readouterr().err
    found = [finding.what for finding in directory(run) if finding.mark == WRONG]
    assert any(what.startswith(reason) for what in found)


@pytest.mark.parametrize("also", [[], ["status"]], ids=["finished", "without a status"])
def test_a_model_without_its_hash_is_written_again_by_a_resume(
    both: Path, run: Path, also: list[str]
) -> None:
    own = file_hash(run / MODEL)
    shutil.copy(both / "1" / MODEL, run / MODEL)
    for lost in ("model", *also):
        without(run, lost)
    (found,) = [finding for finding in directory(run) if finding.mark == WRONG]
    assert "no hash of the final model" in found.what
    assert "made again from the last checkpoint" in found.remedy
    with pytest.raises(ConfigError, match="write the model again from the last checkpoint"):
        export(run, None)
    again = resume_run(run, compose_config(f"resume={run}"), [f"resume={run}"])
    train(again.checked(), again)
    assert file_hash(run / MODEL) == own
    export(run, None)


@pytest.mark.parametrize("lost", ["status.json", "model"])
def test_a_model_of_which_a_run_of_old_does_not_say_what_it_is_warns_once(
    run: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    without(trusting.of_old(run), lost)
    for command, name in ((export, "run"), (talk, "run"), (start, "model.run")):
        command(run, None)
        (line,) = [one for one in capsys.readouterr().err.splitlines() if "hash" in one]
        assert line.startswith(f"warning: {name}={run}: an earlier version made the run, without a")
    assert [finding.what for finding in directory(run) if "final model" in finding.what] == [
        "has no hash of its final model: an earlier version made it"
    ]


def start(run: Path, _: str | None) -> None:
    register_sources()
    config = parse(compose_anew(*SMALL, f"model.run={run}"), TrainConfig)
    begin_from_model(config, contents(config, {}))


def test_adapters_of_another_run_are_refused(tmp_path: Path, language_model: Path) -> None:
    composed = compose_config(
        "model=hf", f"model.path={language_model}", "teacher=none", "model.lora.rank=2",
        "data=sums", "tracking=off",
    )  # fmt: skip
    config, new = parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run")
    begin(new)
    policy = config.model.build()
    config.model.save(policy, new.path, {})
    new.model = final_hashes(new.path)
    record(new, FINISHED)
    assert read_status(new.path)["model"] == new.model
    refuse_foreign_model(new.path)
    (new.path / "model" / "notes.gguf").touch()  # what others make of it beside it is theirs
    trained_model(new.path, config)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(1)
    config.model.save(policy, new.path, {})
    with pytest.raises(ConfigError, match=r"model/adapter_model\.safetensors is not as this run"):
        trained_model(new.path, config)
