"""`model.run=RUN`: a new run that starts from the model of another one, with its own settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SIGNAL, SMALL, compose_anew, compose_config, small_composed
from omegaconf import DictConfig, OmegaConf
from trusting import stranger

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.doctor.directory import source as lineage_of
from chord.errors import ConfigError
from chord.models.checkpoints import weights_of
from chord.models.storage import load_policy
from chord.run.directory import RunDirectory
from chord.run.files import CHECKPOINT, EVALUATIONS, FINISHED, kept_file, read_rows
from chord.run.fork.model import register_sources
from chord.run.identity.settings import telling
from chord.run.lock import held
from chord.run.opening import open_run
from chord.run.resuming import resume_run
from chord.run.status import fingerprint, record
from chord.run.trained import final_hashes
from chord.run.training import train

__all__ = ["stranger"]

SOURCE = ["steps=4", "optimizer.lr=1e-2", "trainer.keep.every=2", "evaluation.every=1", SIGNAL]


@pytest.fixture(autouse=True)
def sources() -> None:
    register_sources()


@pytest.fixture(scope="module")
def source(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "run"
    run = RunDirectory(path, small_composed(small_models, *SOURCE), "source")
    train(run.checked(), run)
    return path


def composed(source: Path, small_models: Path, *words: str) -> DictConfig:
    teacher = f"teacher.path={small_models}/teacher.safetensors"
    return compose_anew(*SMALL, teacher, f"model.run={source}", *words)


def begin(path: Path, config: DictConfig) -> RunDirectory:
    run = RunDirectory(path, config, "run")
    train(run.checked(), run)
    return run


def scores(run: Path, step: int, model: str, split: str) -> dict[str, object]:
    rows = [row for row in read_rows(run / EVALUATIONS) if row["step"] == step]
    (row,) = [row for row in rows if (row["model"], row["split"]) == (model, split)]
    return {
        name: value
        for name, value in row.items()
        if name not in ("step", "model") and "balance" not in name
    }


def test_a_run_starts_from_the_final_model_which_is_its_base(
    source: Path, small_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(tmp_path / "new", composed(source, small_models, "steps=1", SIGNAL))
    start = load_policy(source / "model.safetensors").state_dict()
    built = run.checked().model.build().state_dict()
    assert all(torch.equal(built[name], start[name]) for name in start)
    # Its base is the model it starts from, not that of the source.
    assert scores(run.path, 0, "base", "test") == scores(source, 4, "trained", "test")
    assert f"begins with the model of {source} after 4 train steps" in capsys.readouterr().out
    # The settings are not those of the source.
    assert run.config.optimizer.lr == small_composed(small_models).optimizer.lr
    (found,) = lineage_of(open_run(run.path))
    print_of_source = fingerprint(open_run(source).config)
    assert found.what.startswith(f"began with the model of {source} after 4 train steps, sha256 ")
    assert found.what.endswith(f"; the source has the fingerprint {print_of_source}")


def test_a_run_starts_from_a_checkpoint(source: Path, small_models: Path, tmp_path: Path) -> None:
    run = begin(tmp_path / "new", composed(source, small_models, "steps=1", "checkpoint=2"))
    state = torch.load(kept_file(source, 2), weights_only=True)
    built = run.checked().model.build().state_dict()
    assert all(torch.equal(built[name], w) for name, w in weights_of(state).items())
    assert run.config.lineage.step == 2
    # It goes on, and starts others in turn.
    shown = compose_config(f"resume={run.path}", "steps=2")
    longer = resume_run(run.path, shown, ["steps=2"])
    train(longer.checked(), longer)
    third = composed(run.path, small_models)
    assert third.model.path == str(run.path / "model.safetensors")
    assert third.model.start is None


def test_the_content_of_the_model_tells_runs_apart_and_not_where_it_is(
    source: Path, small_models: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(source, tmp_path / "moved"))
    first = fingerprint(composed(source, small_models))
    assert fingerprint(composed(moved, small_models)) == first
    assert fingerprint(composed(source, small_models, "checkpoint=2")) != first
    (moved / "model.safetensors").write_bytes((small_models / "base.safetensors").read_bytes())
    status = json.loads((moved / "status.json").read_text())
    (moved / "status.json").write_text(json.dumps(status | {"model": final_hashes(moved)}))
    assert fingerprint(composed(moved, small_models)) != first
    # Runs of before had no such settings.
    settings = OmegaConf.to_container(open_run(source).config)
    assert isinstance(settings, dict)
    assert telling(settings)["model"].keys() == {"path", "pretraining_seed"}


def test_the_final_model_names_its_run(source: Path, small_models: Path) -> None:
    by_file = composed(source / "model.safetensors", small_models)
    assert fingerprint(by_file) == fingerprint(composed(source, small_models))


def test_a_run_that_was_interrupted_gives_its_last_checkpoint(
    source: Path, small_models: Path, tmp_path: Path
) -> None:
    cut = Path(shutil.copytree(source, tmp_path / "cut"))
    status = json.loads((cut / "status.json").read_text())
    (cut / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    config = composed(cut, small_models)
    assert config.model.start == str(cut / CHECKPOINT)
    with held(cut, "x"), pytest.raises(ConfigError, match=r"^checkpoint=last: .* is being written"):
        composed(cut, small_models)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.path=x"], "model.path=x: model.run={run} has model.path={run}/model.safetensors"),
        (["model.pretraining_seed=1"], "model.pretraining_seed=1: model.run={run} has model."),
        (["model.start=x"], "model.start=x: model.run={run} has model.start=None; leave it out"),
        (["model=hf"], "model=hf: model.run={run} has model=tiny; leave it out"),
        (["checkpoint=3"], "checkpoint=3: {run} has no such checkpoint; there are: last, 2, 4"),
        (["lineage.step=3"], "lineage.step=3: is looked up in the run"),
    ],
)
def test_what_does_not_go_with_the_model_of_a_run_is_refused(
    source: Path, small_models: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        composed(source, small_models, *words)
    assert str(raised.value).startswith(message.format(run=source))


def test_a_fork_has_its_own_model(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.run=.*: a fork has the model of"):
        compose_anew(f"fork={source}", f"model.run={source}")


def test_a_resumed_run_keeps_its_model(source: Path) -> None:
    words = [f"resume={source}", f"model.run={source}"]
    with pytest.raises(ConfigError, match=r"^model\.run=.*: can't be changed in a resumed run"):
        resume_run(source, compose_anew(*words), words)


def test_where_it_is_not_looked_up_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.start=x: is looked up in a run; give model\.r"):
        parse(compose_config("model.start=x"), TrainConfig)


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.run=.*: holds neither a run \(run\.json\), no"):
        compose_anew(f"model.run={tmp_path}")
    with pytest.raises(ConfigError, match=r"^model\.run=.*none: no such directory"):
        compose_anew(f"model.run={tmp_path}/none")


def test_a_model_that_has_changed_since_it_was_looked_up_is_refused(
    source: Path, small_models: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(source, tmp_path / "moved"))
    run = RunDirectory(tmp_path / "new", composed(moved, small_models), "new")
    (moved / "model.safetensors").write_bytes((small_models / "base.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"^model\.run=.*: its model has changed since it was"):
        train(run.checked(), run)
    assert not (tmp_path / "new" / "run.json").exists()


def test_a_run_from_elsewhere_needs_trust(stranger: Path, small_models: Path) -> None:
    (stranger / "model.safetensors").write_bytes((small_models / "base.safetensors").read_bytes())
    made = open_run(stranger, trust=True)
    made.model = final_hashes(stranger)
    record(made, FINISHED)
    with pytest.raises(ConfigError, match=r"^reward.function=.* names code to import, and it is n"):
        compose_anew(f"model.run={stranger}")
    trusted = compose_anew(f"model.run={stranger}", "trust=true")
    assert schema_names(trusted)["reward"] == "exact"


def test_it_is_found_from_another_directory(
    source: Path, small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(shutil.copytree(source, tmp_path / "moved"))
    monkeypatch.chdir(tmp_path)
    for words in ([], ["checkpoint=2"]):
        config = composed(Path("moved"), small_models, *words)
        run = RunDirectory(tmp_path / f"new{len(words)}", config, "new")
        run.write()
        (tmp_path / "there").mkdir(exist_ok=True)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir(tmp_path / "there")
            open_run(run.path).checked().model.build()


@pytest.mark.parametrize("words", [[], ["checkpoint=2"]], ids=str)
def test_a_model_that_another_run_than_the_source_wrote_is_refused(
    source: Path, small_models: Path, tmp_path: Path, words: list[str]
) -> None:
    copied = Path(shutil.copytree(source, tmp_path / "source"))
    shutil.copy(small_models / "base.safetensors", copied / "model.safetensors")
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(facts | {"tracker_id": "another"}))
    reason = "another run wrote it" if words else r"model\.safetensors is not as this run wrote it"
    with pytest.raises(ConfigError, match=rf"^model\.run=.*{reason}"):
        composed(copied, small_models, *words)
