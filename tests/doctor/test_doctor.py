"""`python -m chord.doctor`: what is in the way of a run is named, with its remedy."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from conftest import small_composed
from omegaconf import OmegaConf

from chord.config.overrides import setting
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.doctor import environment as machine
from chord.doctor.command import main
from chord.doctor.directory import directory, kept
from chord.doctor.finding import NOTE, OK, WRONG, Finding
from chord.run.checkpoint import CHECKPOINT
from chord.run.directory import RunDirectory
from chord.run.files import FINISHED, METRICS, RUNNING, kept_file
from chord.run.lock import held
from chord.run.opening import open_run
from chord.run.status import record
from chord.run.telling import tell_lost
from chord.run.trained import final_hashes
from chord.run.training import train

Usage = namedtuple("Usage", "total used free")


def marks(findings: list[Finding]) -> list[str]:
    return [finding.mark for finding in findings]


@pytest.fixture(scope="module")
def finished(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps that has ended; its base can be changed."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(small_models, models, dirs_exist_ok=True)
    path = models / "run"
    composed = small_composed(models)
    train(parse(composed, TrainConfig), RunDirectory(path, composed, "test"))
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "a run"))


def wrong(path: Path) -> list[Finding]:
    return [finding for finding in directory(path) if finding.mark == WRONG]


def rewrite(path: Path, **facts: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def of_steps(path: Path, steps: int) -> None:
    """Make it a run of another length that was killed on its way."""
    opened = open_run(path).of_length(steps)
    opened.lengths = [[0, steps]]
    opened.write()
    record(opened, RUNNING)


def test_a_finished_run_is_as_it_should_be(run: Path) -> None:
    found = directory(run)
    assert set(marks(found)) == {OK}
    assert "2 train steps" in found[3].what
    assert "2 in metrics.jsonl" in found[4].what
    assert found[-1].what == "all 2 train steps are done"
    # A shell reads the name as one word, and Hydra as one value.
    assert shlex.split(found[-1].remedy)[-2] == setting("resume", run)


def test_a_run_that_was_killed_can_go_on(run: Path) -> None:
    of_steps(run, 5)
    found = directory(run)
    assert wrong(run) == []
    assert "was killed" in found[0].what
    assert found[-1].what == "can be resumed: 3 of 5 train steps are left"
    assert found[-1].remedy.startswith("python -m chord.train ")


def test_a_run_that_is_written_into_has_to_wait(run: Path) -> None:
    with held(run, "resume"):
        found = directory(run)
    assert "is being written by process" in found[0].what
    assert found[-1].what == "can't be resumed while another process writes it"
    assert marks(directory(run))[-1] == OK


def test_what_is_not_a_run_or_cannot_be_read_ends_the_report(run: Path, tmp_path: Path) -> None:
    assert marks(directory(tmp_path)) == [WRONG]
    (run / "run.json").write_text("{")
    (found,) = directory(run)
    assert found.mark == WRONG
    assert "run.json" in found.what


def test_rows_that_are_missing_or_double_are_wrong(run: Path) -> None:
    lines = (run / METRICS).read_text().splitlines(keepends=True)
    (run / METRICS).write_text(lines[1])
    (found,) = wrong(run)
    assert found.what == "metrics.jsonl lacks 1 of 2 steps: 0"
    (run / METRICS).write_text("".join([*lines, lines[0]]))
    (found,) = wrong(run)
    assert found.what == "metrics.jsonl has steps twice"


LINES = {
    "metrics.jsonl": "metrics.jsonl lacks 1 of 2 steps: 1",
    "timings.jsonl": "timings.jsonl lacks 1 of 2 steps: 1",
    "evaluations.jsonl": "evaluations.jsonl lacks the last evaluation of the trained model on test",
    "completions.jsonl": "completions.jsonl lacks 1 of 2 steps with answers: 1",
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("cut", [True, False])
def test_rows_that_a_finished_run_has_lost_are_wrong(run: Path, name: str, cut: bool) -> None:
    lines = (run / name).read_bytes().splitlines(keepends=True)
    (run / name).write_bytes(b"".join([*lines[:-1], lines[-1][:9] if cut else b""]))
    found = {finding.what for finding in wrong(run)}
    assert found == {LINES[name], *[f"{name} ends in the middle of a row"] * cut}
    # It is in the way of nothing.
    assert directory(run)[-1].what == "all 2 train steps are done"


def test_a_run_that_is_resumed_says_what_it_has_lost(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_run(run)
    tell_lost(opened, 2)
    assert capsys.readouterr().err == ""
    for name in ("metrics.jsonl", "completions.jsonl"):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:-1]))
    (run / "timings.jsonl").unlink()
    tell_lost(opened, 2)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: resume={run}: metrics.jsonl lacks 1 of 2 steps: 1",
        f"warning: resume={run}: timings.jsonl lacks 2 of 2 steps: 0, 1",
    ]
    tell_lost(opened, 0)
    assert "has no checkpoint; the run begins again at its first step" in capsys.readouterr().err


def test_evaluations_on_the_way_that_are_lost_are_wrong(run: Path) -> None:
    opened = open_run(run)
    opened.config.evaluation.every = 1
    opened.write()
    opened.model = final_hashes(run)
    record(opened, FINISHED)
    (found,) = wrong(run)
    assert found.what.startswith("evaluations.jsonl lacks 1 of 2 evaluations, after steps: 1")
    assert "backup" in found.remedy


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("size", [None, 0, 1000])
def test_a_final_model_that_is_gone_or_cut_is_wrong_with_how_to_make_it_again(
    run: Path, size: int | None, checkpoint: bool
) -> None:
    if size is None:
        (run / "model.safetensors").unlink()
    else:
        os.truncate(run / "model.safetensors", size)
    if not checkpoint:
        (run / CHECKPOINT).unlink()
    (found,) = wrong(run)
    assert "model.safetensors" in found.what
    assert ("made again from the last checkpoint" in found.remedy) == checkpoint
    assert ("or train the run again" in found.remedy) == (not checkpoint)


def test_a_final_model_that_is_a_pipe_is_not_waited_for(run: Path) -> None:
    (run / "model.safetensors").unlink()
    os.mkfifo(run / "model.safetensors")
    (found,) = wrong(run)
    assert found.what.startswith("model.safetensors can't be read (model.safetensors is not a reg")


def test_a_finished_run_without_checkpoints_is_done_and_can_not_be_made_longer(run: Path) -> None:
    (run / CHECKPOINT).unlink()
    found = directory(run)
    assert wrong(run) == []
    assert Finding(NOTE, "has no checkpoint: it can't be made longer") in found
    assert found[-1] == Finding(OK, "all 2 train steps are done")
    (run / METRICS).unlink()
    assert [each.what for each in wrong(run)] == ["metrics.jsonl lacks 2 of 2 steps: 0, 1"]


@pytest.mark.parametrize("every", [1, 2])
def test_a_checkpoint_that_is_gone_from_a_run_on_its_way_is_wrong_if_it_must_have_been_there(
    run: Path, every: int
) -> None:
    (run / CHECKPOINT).unlink()
    opened = open_run(run).of_length(5)
    opened.config.trainer.checkpoint_every = every
    opened.lengths = [[0, 5]]
    opened.write()
    record(opened, RUNNING)
    found = wrong(run)
    assert len(found) == (every == 1)
    for each in found:
        assert each.what.startswith("checkpoints/last.ckpt is missing, but the run has taken 2 ")
        assert each.remedy.startswith("put the checkpoint back from a backup, or start a new run: ")


def test_a_damaged_checkpoint_is_wrong_and_none_is_a_note(run: Path) -> None:
    (run / CHECKPOINT).write_bytes(b"half")
    (found,) = wrong(run)
    assert "can't be read" in found.what
    assert "or start a new run: python -m chord.train" in found.remedy
    (run / CHECKPOINT).unlink()
    assert NOTE in marks(directory(run))
    assert wrong(run) == []


def test_a_disk_without_room_for_the_next_checkpoint_is_wrong(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(10, 10, 1))
    (found,) = wrong(run)
    assert "twice its size" in found.what
    size = (run / CHECKPOINT).stat().st_size
    for free, enough in ((2 * size - 1, False), (2 * size, True)):
        usage = Usage(10 * size, 0, free)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path, usage=usage: usage)
        assert (wrong(run) == []) == enough


def test_kept_checkpoints_are_listed_and_a_lost_best_is_a_note(
    run: Path,
) -> None:
    of_run = open_run(run)
    OmegaConf.update(of_run.config, "trainer.keep.best", "val/rl_reward")
    config, values = of_run.checked(), {0: 0.9, 1: 0.5, 2: 0.4}
    row = {"split": "val", "model": "trained"}
    rows = [{"step": step, **row, "val/rl_reward": value} for step, value in values.items()]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    kept_file(run, 2).write_bytes(b"1" * 10**6)
    listed, lost = kept(of_run, config)
    assert listed == Finding(OK, "kept checkpoints: of steps 2, 1.0 MB")
    assert (lost.mark, lost.what.split()[0]) == (NOTE, "checkpoints/step-1.ckpt,")
    kept_file(run, 1).write_bytes(b"1")
    assert [*kept(of_run, config)][1] == Finding(OK, "the best by val/rl_reward is that of step 1")


def test_a_file_that_has_changed_or_gone_is_wrong_with_how_to_go_on(run: Path) -> None:
    base = Path(json.loads((run / "run.json").read_text())["contents"]["model.path"]["path"])
    kept = base.read_bytes()
    try:
        base.write_bytes(kept + b" ")
        (changed,) = wrong(run)
        base.unlink()
        gone = wrong(run)
    finally:
        base.write_bytes(kept)
    assert "has changed" in changed.what
    assert changed.remedy.endswith("resume with allow_changed=[model.path]")
    assert any(str(base) in finding.what for finding in gone)


def test_a_run_with_something_wrong_is_not_gone_on_with(run: Path) -> None:
    of_steps(run, 10**18)
    (refused,) = [finding for finding in wrong(run) if "is refused here" in finding.what]
    assert "steps=1000000000000000000: must be at most" in refused.what
    assert directory(run)[-1].what == "can't be resumed until what is wrong has been fixed"


def test_a_run_that_lacks_its_last_evaluation_can_go_on(run: Path) -> None:
    rewrite(run / "status.json", status="failed")
    last = directory(run)[-1]
    assert last.what == "can be resumed: its last evaluation is left"
    assert last.remedy.startswith("python -m chord.train ")


def test_other_versions_are_a_note(run: Path) -> None:
    versions = json.loads((run / "run.json").read_text())["versions"]
    rewrite(run / "run.json", versions=versions | {"torch": "1.0"})
    found = [finding for finding in directory(run) if finding.mark == NOTE]
    assert [finding.what.partition(" (now")[0] for finding in found] == ["was made with torch 1.0"]


def test_something_wrong_ends_in_exit_code_1(
    run: Path, no_account: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / CHECKPOINT).write_bytes(b"half")
    with pytest.raises(SystemExit) as ended:
        main([str(run)])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "  WRONG  resume=" in shown
    assert f"runs are written below {run.parent}, " in shown
    assert shown.endswith("1 wrong\n")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nothing", "nothing: no such directory; give a run directory"),
        ("run=nothing", "run=nothing: no such directory; give a run directory"),
        (".", ".: is not a run directory (it holds no run.json)"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(
    name: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 1
    assert capsys.readouterr() == ("", f"error: {line}\n")
