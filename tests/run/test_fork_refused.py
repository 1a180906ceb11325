"""What can't be forked is refused in one sentence, before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import compose_config
from forks import composed, fork, forks, source
from trusting import NAMED, run_in, stranger

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.files import kept_file
from chord.run.fork.base import is_foreign
from chord.run.lock import held
from chord.run.opening import open_run
from chord.run.training import train

__all__ = ["forks", "source", "stranger"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.pretraining_seed=1"], "model.pretraining_seed=1: a fork has the model of {run}"),
        (["model=hf", "model.path=x"], "model=hf: a fork has the model of {run}; leave it out"),
        (["checkpoint=3"], "checkpoint=3: {run} has no such checkpoint; there are: last, 2, 4, 6"),
        (["checkpoint=best"], "checkpoint=best: {run} was trained without trainer.keep.best"),
        (["resume=x"], "fork={run}: starts a new run, and resume= continues one; give one"),
        (["lineage.step=3"], "lineage.step=3: is looked up in the run that is forked"),
    ],
)
def test_what_cannot_be_forked_is_refused(words: list[str], message: str, source: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        composed(source, *words)
    assert str(raised.value).startswith(message.format(run=source))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("checkpoint=4", "checkpoint=4: is of the run in fork=RUN or model.run=RUN; give one of"),
        ("fresh_optimizer=true", "fresh_optimizer=true: is only for a fork; give fork=RUN"),
    ],
)
def test_settings_of_a_fork_are_refused_without_one(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        parse(compose_config(word), TrainConfig)


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^fork=.*: no such directory"):
        composed(tmp_path / "none")


def test_a_run_at_work_is_forked_by_a_number_of_steps_alone(source: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(source, tmp_path / "run"))
    with held(run, "x"):
        with pytest.raises(ConfigError, match=r"^checkpoint=last: .* is being written by process"):
            composed(run)
        assert composed(run, "checkpoint=2").lineage.step == 2


def test_a_checkpoint_that_has_changed_since_it_was_looked_up_is_refused(
    source: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(source, tmp_path / "run"))
    run = RunDirectory(tmp_path / "fork", composed(base, "checkpoint=2"), "fork")
    kept_file(base, 2).write_bytes(b"another")
    with pytest.raises(ConfigError, match="the checkpoint after step 2 is gone, or another one by"):
        train(run.checked(), run)
    assert not (tmp_path / "fork" / "run.json").exists()


def test_a_checkpoint_that_another_run_than_the_source_wrote_is_refused(
    source: Path, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(source, tmp_path / "source"))
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(facts | {"tracker_id": "another"}))
    with pytest.raises(ConfigError, match=r"^fork=.*\.ckpt: another run wrote it"):
        fork(copied, tmp_path / "fork")


def test_a_source_from_elsewhere_needs_trust_and_so_does_its_fork(
    stranger: Path, tmp_path: Path
) -> None:
    (stranger / "checkpoints").mkdir()
    kept_file(stranger, 1).touch()
    with pytest.raises(ConfigError, match=r"^reward.function=.* names code to import, and it is n"):
        composed(stranger, "checkpoint=1")
    cfg = composed(stranger, "checkpoint=1", "trust=true")
    assert is_foreign(cfg)
    RunDirectory(tmp_path / "fork", cfg, "fork", foreign=is_foreign(cfg)).write()
    with pytest.raises(ConfigError, match=r"^reward.function=.* names code to import, and it is n"):
        open_run(tmp_path / "fork")
    # Of an own run it is this user's own.
    own = run_in(tmp_path / "own", "reward=function", NAMED)
    (own / "checkpoints").mkdir()
    kept_file(own, 1).touch()
    assert not is_foreign(composed(own, "checkpoint=1"))


def test_a_base_that_has_changed_since_the_source_began_is_refused(
    source: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(source, tmp_path / "run"))
    facts = json.loads((base / "run.json").read_text())
    facts["contents"]["model.path"]["sha256"] = "0" * 64
    (base / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"^model.path=.* since fork=.* began, and what starts"):
        fork(base, tmp_path / "fork", "checkpoint=2")
    assert not (tmp_path / "fork").exists()
