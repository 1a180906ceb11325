"""Checkpoints that are kept beside the last one: which stay, after whatever interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIGNAL, compose_config, small_composed
from omegaconf import OmegaConf
from safetensors.torch import load_file

from chord.chat import loaded, parser
from chord.config.keep import Keep
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.evaluation.measured import measured
from chord.export import export_run
from chord.run import kept as kept_module
from chord.run.build import open_data
from chord.run.checkpoint import CHECKPOINT, read_checkpoint, read_saved
from chord.run.checkpointing import Checkpointing
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, kept_file, read_rows
from chord.run.identity.settings import telling
from chord.run.kept import Keeper, find_checkpoint, kept_steps
from chord.run.resuming import resume_run
from chord.run.status import fingerprint
from chord.run.training import train

KEPT = [
    "steps=6",
    "schedule=constant",
    "schedule.value=.5",
    "trainer.checkpoint_every=4",
    "evaluation.every=1",
    "evaluation.test=false",
    "trainer.keep.best=val/expert_nll",
    "trainer.keep.mode=min",
    "trainer.keep.every=3",
    SIGNAL,
]


FEW = [
    "split=val",
    "evaluation=quick",
    "evaluation.val_problems=4",
    "evaluation.val_retained=2",
    "evaluation.pairs=4",
    "evaluation.max_new_tokens=4",
]


class Killed(BaseException):
    """A kill, from within."""


def start(models: Path, path: Path, *overrides: str) -> RunDirectory:
    composed = small_composed(models, *overrides)
    run = RunDirectory(path, composed, "test", list(overrides))
    train(run.checked(), run)
    return run


def resume(path: Path) -> None:
    run = resume_run(path, compose_config(f"resume={path}"), [f"resume={path}"])
    train(run.checked(), run)


@pytest.fixture(scope="module")
def kept(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "run"
    start(small_models, path, *KEPT)
    return path


def names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "checkpoints").iterdir())


def bests(path: Path) -> int:
    """The step of the smallest nll, found here by other means."""
    rows = [row for row in read_rows(path / EVALUATIONS) if row["model"] == "trained"]
    return int(min((row["val/expert_nll"], row["step"]) for row in rows if row["step"])[1])


@pytest.mark.parametrize(
    ("keep", "completed", "steps"),
    [
        (Keep(), 11, []),
        (Keep(every=4), 11, [4, 8]),
        (Keep(last=2), 2, []),
        (Keep(last=2), 10, [6, 9]),
        (Keep(last=2), 11, [9, 11]),
        (Keep(last=1), 11, [11]),
        (Keep(last=9), 11, [3, 6, 9, 11]),
    ],
)
def test_which_steps_stay_by_their_number(keep: Keep, completed: int, steps: list[int]) -> None:
    assert sorted(keep.by_number(completed, 11, 3)) == steps


def test_kept_checkpoints_are_whole_and_of_their_steps(kept: Path) -> None:
    assert kept_steps(kept) == sorted({3, 6, bests(kept)})
    for step in kept_steps(kept):
        state = torch.load(kept_file(kept, step), weights_only=True)
        assert state["chord"]["completed"] == step
        assert state["optimizer_states"]
    # The last one is no second file.
    assert (kept / CHECKPOINT).samefile(kept_file(kept, 6))


def test_by_default_only_the_last_checkpoint_stays(small_models: Path, tmp_path: Path) -> None:
    run = start(small_models, tmp_path / "run", "steps=1")
    assert names(run.path) == ["last.ckpt"]


def test_what_is_kept_makes_no_other_run(small_models: Path) -> None:
    plain, keeping = small_composed(small_models), small_composed(small_models, *KEPT[-4:-1])
    assert fingerprint(keeping) == fingerprint(plain)
    # Runs from before have no such setting.
    values = OmegaConf.to_container(plain)
    assert isinstance(values, dict)
    assert "keep" in values["trainer"]
    assert "keep" not in telling(values)["trainer"]


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        (Checkpointing, "save", 3, False),
        (Keeper, "tidy", 3, False),
        (kept_module, "share", 2, False),
        (kept_module, "share", 2, True),
    ],
)
def test_a_kill_changes_nothing_of_what_is_kept(
    owner: Any, name: str, call: int, after: bool, kept: Path, small_models: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        original, calls = getattr(owner, name), []

        def dying(*given: object) -> None:
            calls.append(name)
            if after or len(calls) != call:
                original(*given)
            if len(calls) == call:
                raise Killed

        monkeypatch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            start(small_models, tmp_path / "run", *KEPT)
    resume(tmp_path / "run")
    files = [
        sorted(f.name for f in (p / "checkpoints").iterdir()) for p in (kept, tmp_path / "run")
    ]
    assert files[0] == files[1]


def test_the_best_stays_while_worse_ones_come_and_goes_when_a_better_one_does(
    tmp_path: Path,
) -> None:
    keeper = Keeper(tmp_path, Keep(best="val/rl_reward"), steps=9, written_every=1)
    (tmp_path / "checkpoints").mkdir()
    row = {"split": "val", "model": "trained"}
    stayed = []
    # Nothing was ever measured, a first one, an equal one, a worse one, a better one.
    for step, reward in enumerate([None, 0.5, 0.5, 0.25, 0.75], start=1):
        (tmp_path / CHECKPOINT).write_text(str(step))
        with (tmp_path / EVALUATIONS).open("a") as file:
            file.write(json.dumps({"step": step, **row, "val/rl_reward": reward}) + "\n")
        keeper.tidy(step)
        stayed.append([kept_file(tmp_path, s).read_text() for s in kept_steps(tmp_path)])
        (tmp_path / CHECKPOINT).unlink()
    assert stayed == [[], ["2"], ["2"], ["2"], ["5"]]


def test_the_best_that_is_there_stays_though_a_better_one_was_lost(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, Keep(best="val/rl_reward"), steps=9, written_every=1)
    (tmp_path / "checkpoints").mkdir()
    row = {"split": "val", "model": "trained"}
    rows = [{"step": s, **row, "val/rl_reward": v} for s, v in ((1, 0.9), (2, 0.5), (3, 0.1))]
    (tmp_path / EVALUATIONS).write_text("".join(json.dumps(each) + "\n" for each in rows))
    for step in (2, 3):
        kept_file(tmp_path, step).touch()
    keeper.tidy(4)
    assert kept_steps(tmp_path) == [2]


def test_where_files_cannot_be_shared_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / CHECKPOINT).write_text("1")
    Keeper(tmp_path, Keep(last=1), steps=9, written_every=1).tidy(1)
    assert kept_file(tmp_path, 1).read_text() == "1"
    assert not kept_file(tmp_path, 1).samefile(tmp_path / CHECKPOINT)


def test_a_run_goes_on_from_a_kept_checkpoint_that_is_put_in_place_of_the_last(
    kept: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(kept, tmp_path / "run"))
    (run / CHECKPOINT).unlink()
    with pytest.raises(ConfigError, match=r"last.ckpt is missing, but step-6.ckpt is there; copy"):
        resume(run)
    shutil.copy(kept_file(run, 3), run / CHECKPOINT)
    resume(run)
    again, before = read_checkpoint(run), read_checkpoint(kept)
    assert again.completed == before.completed == 6
    assert again.weights is not None
    assert before.weights is not None
    assert all(torch.equal(again.weights[name], before.weights[name]) for name in before.weights)
    assert kept_steps(run) == kept_steps(kept)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.keep.mode=most"], "trainer.keep.mode=most: must be one of max, min"),
        (["trainer.keep.mode=min"], "trainer.keep.mode=min: needs trainer.keep.best=METRIC"),
        (["trainer.keep.every=-1"], "trainer.keep.every=-1: must be at least 0"),
        (["trainer.keep.last=-1"], "trainer.keep.last=-1: must be at least 0"),
        (
            ["trainer.keep.best=val/expert_nll"],
            "is better the lower it is; add trainer.keep.mode=min",
        ),
        (["trainer.keep.best=val/reward"], "must be a validation metric; did you mean"),
        (["trainer.keep.best=test/rl_reward"], "choose settings on validation"),
        (
            ["trainer.keep.best=val/rl_reward", "evaluation.every=0"],
            "trainer.keep.best=val/rl_reward: needs evaluation.every above 0",
        ),
        (
            [
                *["trainer.keep.best=val/rl_reward", "data=jsonl", "data.problems=x"],
                *["data.validation=0", "evaluation.test=true", "schedule=rl_only"],
            ],
            "trainer.keep.best=val/rl_reward: needs a validation split",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(compose_config(*overrides), TrainConfig)
    assert message in str(raised.value)


def test_a_metric_that_the_evaluations_will_lack_is_refused(
    small_models: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"keep.best=val/retained/chess: the evaluations of this"):
        start(small_models, tmp_path / "run", "trainer.keep.best=val/retained/chess")
    assert not (tmp_path / "run").exists()


def test_the_metrics_of_an_evaluation_are_known_before(kept: Path, small_models: Path) -> None:
    config = parse(small_composed(small_models, *KEPT), TrainConfig)
    with open_data(config) as data:
        known = [f"val/{name}" for name in measured(data, config.evaluation, "val")]
    row = read_rows(kept / EVALUATIONS)[0]
    assert {name for name in row if name.startswith("val/")} == {*known}


@pytest.mark.parametrize("which", ["best", "last", "3", "6", None])
def test_a_checkpoint_is_found_by_what_it_is(which: str | None, kept: Path) -> None:
    keep = Keep(best="val/expert_nll", mode="min")
    steps = {"best": bests(kept), "last": 6, "3": 3, "6": 6}
    file = find_checkpoint(kept, keep, which)
    assert file is None if which is None else read_saved(file or kept, "").completed == steps[which]


def test_the_last_checkpoint_is_that_of_its_step(kept: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept, tmp_path / "run"))
    kept_file(run, 6).unlink()
    assert find_checkpoint(run, Keep(), "6") == run / CHECKPOINT


@pytest.mark.parametrize(
    ("which", "keep", "message"),
    [
        ("2", Keep(), "checkpoint=2: {run} has no such checkpoint; there are: last, 3, 6"),
        ("best", Keep(), "checkpoint=best: {run} was trained without trainer.keep.best; there"),
        ("worst", Keep(), "checkpoint=worst: must be best, last or a number of train steps; there"),
        (
            "best",
            Keep(best="val/retained/min"),
            "checkpoint=best: {run} has no such checkpoint; there are: last, 3, 6",
        ),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(
    which: str, keep: Keep, message: str, kept: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for step in (3, 6):
        kept_file(run, step).touch()
    shutil.copy(kept / CHECKPOINT, run / CHECKPOINT)
    with pytest.raises(ConfigError) as raised:
        find_checkpoint(run, keep, which)
    assert str(raised.value).startswith(message.format(run=run))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ConfigError, match="there are none"):
        find_checkpoint(run, keep, which)


def test_the_model_of_a_checkpoint_is_evaluated_exported_and_talked_to(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = parse(
        compose_config(f"run={kept}", "checkpoint=3", *FEW, name="evaluate"), EvaluateConfig
    )
    _, early = evaluate_run(kept, config)
    assert f"evaluating {kept_file(kept, 3)}" in capsys.readouterr().out
    (row,) = [
        row
        for row in read_rows(kept / EVALUATIONS)
        if (row["step"], row["model"]) == (3, "trained")
    ]
    assert early.metrics["expert_nll"] == row["val/expert_nll"]
    weights = read_saved(kept_file(kept, 3), "").weights
    assert weights is not None
    export_run(kept, tmp_path / "hf", "3")
    exported = load_file(tmp_path / "hf" / "model.safetensors")
    assert torch.equal(exported["model.embed_tokens.weight"], weights["embedding.weight"])
    options = parser().parse_args([str(kept), "--checkpoint", "3"])
    with loaded(options) as (_, speaker):
        found = speaker.policy.state_dict()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    with pytest.raises(ConfigError, match=r"^--checkpoint 2: .* has no such checkpoint; there are"):
        export_run(kept, tmp_path / "none", "2")
