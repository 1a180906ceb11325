"""What is edited in a run's directory to no effect is said, by every command that reads a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import compose_config, small_composed
from omegaconf import OmegaConf

from chord.doctor.directory import directory
from chord.doctor.finding import NOTE
from chord.run.directory import RunDirectory
from chord.run.identity.edited import edited
from chord.run.opening import configuration, open_run
from chord.run.resuming import resume_run


@pytest.fixture
def run(tmp_path: Path, small_models: Path) -> Path:
    config = small_composed(small_models, "optimizer.lr=1e-5", "schedule.valley=0.125")
    options = {"schedule": "chord_mu", "weighting@off_policy": "luffy", "data": "testbed"}
    RunDirectory(tmp_path / "run", config, "run", options=options).write()
    return tmp_path / "run"


def said(run: Path) -> list[str]:
    opened = open_run(run)
    return list(edited(run, opened.config, opened.options))


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_a_run_that_nobody_edited_agrees_with_itself(run: Path) -> None:
    assert said(run) == []


def test_a_resume_with_another_tracker_is_no_edit(run: Path) -> None:
    opened = open_run(run)
    # `tracking=off` in `config`, and what the run began with among the options.
    assert list(edited(run, opened.config, {**opened.options, "tracking": "wandb"})) == []
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, "trust", True)  # as it is where a run had to be trusted
    OmegaConf.save(config, run / "config.yaml")
    assert said(run) == []


def test_what_was_edited_is_named_and_has_no_effect(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(run / "config.yaml", "valley: 0.125", "valley: 0.25")
    edit(run / "run.json", '"weighting@off_policy": "luffy"', '"weighting@off_policy": "phi"')
    one = "config.yaml has schedule.valley=0.25, but the run has 0.125"
    other = "run.json has weighting@off_policy=phi among its options, but the run has a luffy"
    assert said(run) == [one, other]
    line = f"warning: {run}: {one} (and 1 more); the config in run.json counts, and what else "
    assert configuration(run).schedule.valley == 0.125  # type: ignore[attr-defined]
    assert capsys.readouterr().err == f"{line}was edited has no effect\n"
    resumed = resume_run(run, compose_config(f"resume={run}"), [f"resume={run}"])
    assert resumed.config.schedule.valley == 0.125
    assert capsys.readouterr().err == f"{line}was edited has no effect\n"
    notes = [finding.what for finding in directory(run) if finding.mark == NOTE]
    assert [note for note in notes if "but the run has" in note] == [one, other]


def test_what_is_new_or_can_not_be_read_is_said_too(run: Path) -> None:
    file = run / "config.yaml"
    before = file.read_text()
    file.write_text(before + "stepps: 3\n")
    assert said(run) == ["config.yaml has stepps=3, but there is no such setting"]
    file.write_text("a: [\n")
    assert said(run) == ["config.yaml is not YAML"]
    file.unlink()
    assert said(run) == []


def test_a_configuration_that_can_not_be_resolved_is_left_to_the_checks(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["seed"] = "${nothing}"
    (run / "run.json").write_text(json.dumps(facts))
    assert said(run) == []
