"""A resume that would lose steps, or go on from something else, is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import compose_config, small_composed
from resumes import ended, finished, resume, start, start_and_die

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.checkpoint import CHECKPOINT, read_checkpoint
from chord.run.directory import RunDirectory
from chord.run.files import RUNNING
from chord.run.losing import lost
from chord.run.opening import open_run
from chord.run.resuming import resume_run
from chord.run.status import record
from chord.run.training import train

__all__ = ["ended", "finished"]


@pytest.mark.parametrize("override", ["seed=3", "schedule=linear", "++weighting.normalize=mean1"])
def test_other_overrides_of_a_resumed_run_are_refused(
    finished: Callable[..., Path], tmp_path: Path, override: str
) -> None:
    finished("run")
    with pytest.raises(ConfigError, match="can't be changed in a resumed run"):
        resume_run(tmp_path / "run", compose_config(override), [override])


def test_a_directory_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run\.json"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json can't be read"):
        open_run(tmp_path)


@pytest.mark.parametrize("setting", ["steps", "rollout.problems", "seed"])
def test_an_absurd_number_in_a_runs_record_is_one_sentence(
    small_models: Path, tmp_path: Path, setting: str
) -> None:
    path, number = tmp_path / "run", "1" + 400 * "0"
    composed = small_composed(small_models, "schedule=cosine")
    RunDirectory(path, composed, "run").write()
    facts = json.loads((path / "run.json").read_text())
    for newer in ("format", "contents", "changes", "expressions"):
        del facts[newer]  # a run of old needs no fingerprint, which would contradict that
    *groups, last = setting.split(".")
    node = facts["config"]
    for group in groups:
        node = node[group]
    node[last] = int(number)
    (path / "run.json").write_text(json.dumps(facts))
    (path / "config.yaml").unlink()  # it would contradict it too
    with pytest.raises(ConfigError, match=rf"^{setting}=1\.0e\+400: must be a whole number below"):
        resume_run(path, compose_config(), []).checked()


def test_a_directory_that_holds_a_run_is_not_run_over(small_models: Path, tmp_path: Path) -> None:
    start(small_models, tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        start(small_models, tmp_path / "run", "seed=1")


def test_a_checkpoint_of_another_model_is_named(
    finished: Callable[..., Path], tmp_path: Path
) -> None:
    finished("run")
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    state["state_dict"].popitem()
    torch.save(state, tmp_path / "run" / CHECKPOINT)
    with pytest.raises(ConfigError, match="holds the weights of another model"):
        resume(tmp_path / "run")


@pytest.mark.parametrize("words", [[], ["steps=8"]])
@pytest.mark.parametrize("kept", [False, True])
def test_a_finished_run_that_would_be_taken_anew_is_refused(
    finished: Callable[..., Path], small_models: Path, tmp_path: Path, words: list[str], kept: bool
) -> None:
    path = finished("run")
    if kept:
        start_and_die("between the update and its rows", small_models, tmp_path / "cut")
        shutil.copy(tmp_path / "cut" / CHECKPOINT, path / CHECKPOINT)
        facts = [json.loads((each / "run.json").read_text()) for each in (path, tmp_path / "cut")]
        one_run = facts[0] | {"tracker_id": facts[1]["tracker_id"]}
        (path / "run.json").write_text(json.dumps(one_run))
    else:
        (path / CHECKPOINT).unlink()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    typed = [f"resume={path}", *words]
    run = resume_run(path, compose_config(*typed), typed)
    with pytest.raises(ConfigError, match="has finished all 5 train steps, which would be dropped"):
        train(parse(run.config, TrainConfig), run)
    after = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert {**after, path / ".lock": b""} == {**before, path / ".lock": b""}


@pytest.mark.parametrize(("taken", "refused"), [(2, False), (3, True)])
def test_a_run_without_its_checkpoint_begins_again_only_if_it_can_have_had_none(
    finished: Callable[..., Path], tmp_path: Path, taken: int, refused: bool
) -> None:
    path = finished("run")
    (path / CHECKPOINT).unlink()
    rows = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(rows[:taken]))
    run = open_run(path)
    record(run, RUNNING)
    assert (lost(run, 0) is not None) == refused
    assert lost(run, 2) is None


def test_a_run_cannot_be_shortened(finished: Callable[..., Path], tmp_path: Path) -> None:
    finished("run")
    overrides = [f"resume={tmp_path / 'run'}", "steps=3"]
    run = resume_run(tmp_path / "run", compose_config(*overrides), overrides)
    with pytest.raises(ConfigError, match="steps=3: the run has already taken 5"):
        train(parse(run.config, TrainConfig), run)


@pytest.mark.faults
def test_a_damaged_checkpoint_is_named(finished: Callable[..., Path], tmp_path: Path) -> None:
    finished("run")
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"resume=.*last\.ckpt can't be read"):
        read_checkpoint(tmp_path / "run")


def test_a_checkpoint_of_another_run_is_refused(
    finished: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("run", "other"):
        finished(name)
    facts = json.loads((tmp_path / "other" / "run.json").read_text())
    # Both are copies of one run, which is the same run elsewhere.
    assert read_checkpoint(tmp_path / "other").completed == 5
    (tmp_path / "other" / "run.json").write_text(json.dumps(facts | {"tracker_id": "another"}))
    with pytest.raises(
        ConfigError, match=r"^resume=.*last\.ckpt can't be read \(another run wrote"
    ):
        read_checkpoint(tmp_path / "other")
