"""What is edited in a run's directory is said by every command that reads a run, and a run whose
files contradict each other about which run it is does not go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trusting
from conftest import compose_config, small_composed
from omegaconf import OmegaConf

from chord.compare.reading import read_run
from chord.doctor.directory import directory
from chord.doctor.finding import NOTE, WRONG
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.files import FINISHED, RUNNING
from chord.run.identity.agreement import contradiction
from chord.run.identity.edited import edited
from chord.run.identity.settings import resumable
from chord.run.opening import configuration, open_run
from chord.run.resuming import resume_run
from chord.run.status import record
from chord.sweep.equal_runs import finished_runs


@pytest.fixture
def run(tmp_path: Path, small_models: Path) -> Path:
    config = small_composed(small_models, "optimizer.lr=1e-5", "schedule.valley=0.125")
    options = {"schedule": "chord_mu", "weighting@off_policy": "luffy", "data": "testbed"}
    return trusting.begun(RunDirectory(tmp_path / "run", config, "run", options=options))


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
    edit(run / "config.yaml", "sweep_metric: val/", "sweep_metric: test/")
    edit(run / "run.json", '"weighting@off_policy": "luffy"', '"weighting@off_policy": "phi"')
    one = "config.yaml has sweep_metric=test/balance_at_0.5, but the run has val/balance_at_0.5"
    other = "run.json has weighting@off_policy=phi among its options, but the run has a luffy"
    assert said(run) == [one, other]
    line = f"warning: {run}: {one} (and 1 more); the config in run.json counts, and what else "
    assert configuration(run).sweep_metric == "val/balance_at_0.5"
    assert capsys.readouterr().err == f"{line}was edited has no effect\n"
    resumed = resume_run(run, compose_config(f"resume={run}"), [f"resume={run}"])
    assert resumed.config.sweep_metric == "val/balance_at_0.5"
    assert capsys.readouterr().err == f"{line}was edited has no effect\n"
    notes = [finding.what for finding in directory(run) if finding.mark == NOTE]
    assert [note for note in notes if "but the run has" in note] == [one, other]


def edit_value(file: Path, key: str, value: object) -> None:
    """Set one value in `config.yaml` or another of its kind, or in the `config` of `run.json`."""
    if file.suffix == ".json":
        facts = json.loads(file.read_text())
        *groups, name = key.split(".")
        node = facts["config"]
        for group in groups:
            node = node[group]
        node[name] = value
        file.write_text(json.dumps(facts))
    else:
        values = OmegaConf.load(file)
        OmegaConf.update(values, key, value)
        OmegaConf.save(values, file)


@pytest.fixture
def begun(run: Path) -> Path:
    """A run with what Hydra leaves, as after a kill."""
    (run / ".hydra").mkdir()
    OmegaConf.save(open_run(run).config, run / ".hydra" / "config.yaml")
    return run


FILES = ("config.yaml", "run.json")
OTHERS = {
    "seed": 7,
    "steps": 99,
    "schedule.valley": 0.25,
    "optimizer.lr": 1.0,
    "rollout.group_size": 3,
    "trainer.precision": "bf16-mixed",
    "threads": 2,
}


@pytest.mark.parametrize("key", OTHERS)
@pytest.mark.parametrize("files", [FILES[:1], FILES[1:], FILES], ids=",".join)
def test_a_run_whose_files_contradict_each_other_does_not_go_on(
    begun: Path, files: tuple[str, ...], key: str
) -> None:
    for file in files:
        edit_value(begun / file, key, OTHERS[key])
    with pytest.raises(ConfigError) as refused:
        resume_run(begun, compose_config(f"resume={begun}"), [f"resume={begun}"])
    text = str(refused.value)
    where = {FILES[:1]: "config.yaml", FILES[1:]: "config.yaml", FILES: ".hydra/config.yaml"}[files]
    # What a resume may change may be another in what Hydra left.
    if files == FILES and resumable(key):
        where, key = "status.json", "fingerprint"
    assert text.startswith(f"resume={begun}: {where} has ")
    assert key in text
    assert "run.json" in text
    assert "undo that edit" in text
    found = [finding.what for finding in directory(begun) if finding.mark == WRONG]
    assert found[0] in text
    _, left_out = read_run(begun)
    assert found[0] in left_out[0].reason


def test_a_reference_that_was_edited_is_found_too(begun: Path) -> None:
    edit_value(begun / "run.json", "schedule.total_steps", "${seed}")
    with pytest.raises(ConfigError, match=r"schedule\.total_steps=\$\{steps\}, but run\.json has "):
        resume_run(begun, compose_config(f"resume={begun}"), [f"resume={begun}"])


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (["status.json"], ".hydra/config.yaml has seed="),
        ([".hydra"], "status.json has the fingerprint of another"),
        (["status.json", ".hydra"], "status.json is missing"),
    ],
    ids=str,
)
def test_one_record_of_the_original_is_enough(begun: Path, lost: list[str], named: str) -> None:
    for file in FILES:
        edit_value(begun / file, "seed", 7)
    for each in lost:
        shutil.rmtree(begun / each) if each == ".hydra" else (begun / each).unlink()
    said = contradiction(begun, json.loads((begun / "run.json").read_text()))
    assert said is not None
    assert said.startswith(named)


@pytest.mark.parametrize("status", [None, {"status": "finished"}], ids=["deleted", "without"])
def test_a_run_without_a_fingerprint_does_not_go_on_unless_it_is_of_old(
    begun: Path, status: dict[str, str] | None
) -> None:
    file = begun / "status.json"
    file.unlink() if status is None else file.write_text(json.dumps(status))
    reason = "status.json is missing" if status is None else "status.json has no fingerprint"
    again = [f"resume={begun}"]
    with pytest.raises(ConfigError) as refused:
        resume_run(begun, compose_config(*again), again)
    assert str(refused.value).startswith(f"resume={begun}: {reason}, so it is not known which run")
    assert reason in [finding.what for finding in directory(begun) if finding.mark == WRONG]
    assert reason in read_run(begun)[1][0].reason
    trusting.of_old(begun)
    assert resume_run(begun, compose_config(*again), again).format == 1


@pytest.mark.parametrize("number", [1, 0, None], ids=str)
def test_a_run_that_says_an_older_format_has_nothing_of_a_newer_one(
    begun: Path, number: int | None
) -> None:
    trusting.said_in(begun, lambda facts: facts.pop("format"))
    if number is not None:
        trusting.said_in(begun, lambda facts: facts.update(format=number))
    said = f"run.json has format {1 if number is None else number}, but also contents"
    with pytest.raises(ConfigError, match=said):
        resume_run(begun, compose_config(f"resume={begun}"), [f"resume={begun}"])
    assert said in next(finding.what for finding in directory(begun) if finding.mark == WRONG)
    assert said in read_run(begun)[1][0].reason


def test_a_directory_into_which_another_command_composed_is_still_its_run(begun: Path) -> None:
    edit_value(begun / ".hydra" / "config.yaml", "seed", 7)
    assert contradiction(begun, json.loads((begun / "run.json").read_text())) is None


@pytest.mark.parametrize("moment", ["status.json", "config.yaml", "run.json"])
def test_a_run_killed_while_it_is_lengthened_contradicts_nothing(begun: Path, moment: str) -> None:
    words = [f"resume={begun}", "steps=30", "threads=2"]
    longer = resume_run(begun, compose_config(*words), words)
    before = (begun / "config.yaml").read_bytes(), (begun / "run.json").read_bytes()
    longer.go_on(8, {})
    record(longer, RUNNING)
    longer.write()
    after = (begun / "config.yaml").read_bytes(), (begun / "run.json").read_bytes()
    # They are written in this order; what comes after the moment is as it was.
    written = ["status.json", "config.yaml", "run.json"].index(moment)
    for number, name in enumerate(FILES, start=1):
        (begun / name).write_bytes((after if number <= written else before)[number - 1])
    for resolve in (True, False):
        facts = json.loads((begun / "run.json").read_text())
        assert contradiction(begun, facts, resolve=resolve) is None
    again = resume_run(begun, compose_config(*words), words)
    assert again.config.steps == 30


def test_a_finished_run_that_was_edited_counts_as_no_equal_run(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(open_run(begun), FINISHED)
    assert [begun] in finished_runs(begun.parent).values()
    for file in FILES:
        edit_value(begun / file, "seed", 7)
    assert finished_runs(begun.parent) == {}
    assert "counts as no finished run: .hydra/config.yaml has seed=" in capsys.readouterr().err


def test_a_configuration_that_can_not_be_read_is_said(run: Path) -> None:
    (run / "config.yaml").write_text("a: [\n")
    assert said(run) == ["config.yaml is not YAML"]
    (run / "config.yaml").unlink()
    assert said(run) == []


def test_a_configuration_that_can_not_be_resolved_is_left_to_the_checks(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["seed"] = "${nothing}"
    (run / "run.json").write_text(json.dumps(facts))
    assert said(run) == []
