"""Own and foreign run directories: SECURITY.md, lines 3 to 6."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import compose_config
from omegaconf import OmegaConf
from trusting import NAMED, SECRET, run_in, said_in, stranger, written

from chord import chat, export
from chord.config.parse import parse
from chord.config.root import EvaluateConfig
from chord.config.trust.own import state
from chord.doctor.directory import directory
from chord.doctor.finding import WRONG
from chord.errors import ConfigError
from chord.evaluate import evaluate_run
from chord.replay.command import replay
from chord.run.identity.frozen import literal
from chord.run.located import located
from chord.run.opening import configuration, open_run
from chord.run.resuming import resume_run

__all__ = ["stranger"]


def test_an_own_run_goes_on_and_a_strangers_needs_trust(tmp_path: Path, stranger: Path) -> None:
    own = run_in(tmp_path / "own", "reward=function", NAMED)
    assert open_run(own).config.reward.function == "chord_test_stranger:score"
    with pytest.raises(ConfigError) as raised:
        open_run(stranger)
    assert str(raised.value) == (
        f"{NAMED}: {stranger}/run.json names code to import, and it is not a run that your "
        "chord made (or it was moved or edited); if you trust it, add trust=true (--trust for "
        "chat, doctor, export and replay)"
    )
    assert open_run(stranger, trust=True).config.reward.function
    # Trusted once is not trusted for ever: who made it may have a hand in it.
    trusted = open_run(stranger, trust=True)
    trusted.of_length(240).write()
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        open_run(stranger)
    # An own run that goes on stays one.
    open_run(own).of_length(240).write()
    assert open_run(own).config.steps == 240
    # An own directory that says something else by now is not what chord made.
    file = own / "run.json"
    file.write_text(file.read_text().replace("chord_test_stranger", "another"))
    with pytest.raises(ConfigError, match=r"^reward\.function=another:score: "):
        open_run(own)


def test_an_own_run_may_have_what_looks_like_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "${oc.env:HOME}")
    run = run_in(tmp_path / "own", f"tracking.notes=${{oc.env:{SECRET}}}")
    assert open_run(run).config.tracking.notes == "${oc.env:HOME}"


def test_a_run_that_was_made_through_a_link_is_an_own_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    run_in(tmp_path / "link" / "run", "reward=function", NAMED)
    for place in ("disk", "link"):
        assert open_run(tmp_path / place / "run").config.reward.function


def test_a_run_can_not_vouch_for_itself(tmp_path: Path, stranger: Path) -> None:
    facts = json.loads((stranger / "run.json").read_text())
    facts["config"]["trust"] = True
    (stranger / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        open_run(stranger)
    # What was trusted for one command is not kept.
    run_in(tmp_path / "own", "trust=true")
    assert json.loads((tmp_path / "own/run.json").read_text())["config"]["trust"] is False


def test_a_strangers_run_does_not_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    run = run_in(tmp_path / "made", "tracking.notes=here")
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["tracking"]["notes"] = f"${{oc.env:{SECRET}}}"
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"^tracking\.notes=\$\{oc\.env:.*environment"):
        open_run(run)
    # What the call gave when the run began is beside it.
    assert open_run(run, trust=True).config.tracking.notes == "here"


def test_what_looks_like_a_call_in_a_frozen_value_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    for text in (f"${{oc.env:{SECRET}}}", rf"\${{oc.env:{SECRET}}}", rf"a\\${{oc.env:{SECRET}}}b"):
        assert OmegaConf.create({"a": literal(text)}).a == text
    run = run_in(tmp_path / "made", "tracking.notes=here")
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["tracking"]["notes"] = "${now:%H}"
    (run / "run.json").write_text(json.dumps(facts))
    # The value that such a call had is in the other file.
    written(run, "config", f"tracking: {{notes: '${{oc.env:{SECRET}}}'}}\n")
    assert open_run(run).config.tracking.notes == f"${{oc.env:{SECRET}}}"


def test_values_of_calls_are_checked_as_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    made = run_in(tmp_path / "made", "reward=function", NAMED)
    stranger = said_in(
        made, lambda facts: facts["config"]["reward"].update(function="${now:%Y}${nonexistent}")
    )
    # Nothing to be found there: what can't be resolved may become anything.
    (stranger / "config.yaml").unlink()
    with pytest.raises(ConfigError):
        open_run(stranger)
    written(stranger, "config", "reward: {function: 'chord_test_stranger:score'}\n")
    with pytest.raises(ConfigError, match=rf"^{NAMED}: "):
        open_run(stranger)
    assert open_run(stranger, trust=True).config.reward.function == NAMED.partition("=")[2]
    # In a list as in a text, what looks like a call is none.
    other = run_in(tmp_path / "other")
    said_in(other, lambda facts: facts["config"]["evaluation"].update(retained="${now:%Y}"))
    text = f"${{oc.env:{SECRET}}}.jsonl"
    written(other, "config", yaml.safe_dump({"evaluation": {"retained": [text]}}))
    assert list(open_run(other).config.evaluation.retained) == [text]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x"},
        {"started_in": "/nowhere"},
        {"tracker_id": "another"},
        {"contents": {"reward.function": {"sha256": "0"}}},
        {"overrides": ["trust=true"]},
    ],
)
def test_an_own_run_is_one_as_a_whole(tmp_path: Path, change: dict[str, Any]) -> None:
    own = run_in(tmp_path / "own", "reward=function", NAMED)
    open_run(own)
    said_in(own, lambda facts: facts.update(change))
    with pytest.raises(ConfigError, match=rf"^{NAMED}: .*or it was moved or edited"):
        open_run(own)


def test_a_configuration_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As YAML it would be read without the limits, and with escapes that no check has seen.
    monkeypatch.setenv(SECRET, "s3cret")
    run = run_in(tmp_path / "made")
    text = f'{{"tracking": {{"notes": "\\u0024{{oc.env:{SECRET}}}"}}}}'
    said_in(run, lambda facts: facts.update(config=text))
    with pytest.raises(ConfigError, match=r"run\.json can't be read \(its config is not an object"):
        open_run(run)


def test_files_that_are_found_from_elsewhere_are_no_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    run = run_in(tmp_path / "made", "model=hf", "model.path=x")

    def pieces(facts: dict[str, Any]) -> None:
        facts["started_in"] = "/nowhere"
        facts["config"]["allow_changed"] = ["$", f"{{oc.env:{SECRET}}}"]
        facts["config"]["model"]["path"] = "evil/${allow_changed[0]}${allow_changed[1]}"

    said_in(run, pieces)
    opened = open_run(run)
    found = located(opened.config, opened.started_in)
    assert found.model.path == f"evil/${{oc.env:{SECRET}}}"


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": {}},
        {"config": []},
        {"schemas": "x"},
        {"schemas": [1]},
        {"schemas": {"schedule": 1}},
        {"schemas": {}},
        {"contents": {"a": 1}},
        {"contents": []},
        {"versions": {"torch": 1}},
        {"expressions": 1},
        {"options": []},
        {"lengths": [1]},
        {"lengths": 1},
        {"changes": [1]},
        {"overrides": "x"},
        {"overrides": [1]},
        {"started_in": 1},
        {"name": None},
        {"tracker_id": 1},
    ],
)
def test_a_record_that_no_run_wrote_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run = said_in(run_in(tmp_path / "made"), lambda facts: facts.update(change))
    with pytest.raises(ConfigError) as raised:
        configuration(run)
    assert str(raised.value).startswith(f"{run}: run.json can't be read ("), raised.value
    assert "\n" not in str(raised.value)
    found = directory(run)
    assert found[-1].mark == WRONG or "sha256" in str(found)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("rollout", {"prefix_loss": "${schedule}"}),
        ("reward", "${nonexistent}"),
        ("reward", "${schedule}"),
        ("tracking", "${tracking}"),
        ("data", None),
    ],
)
def test_values_in_the_place_of_others_are_refused_in_a_sentence(
    tmp_path: Path, part: str, value: Any
) -> None:
    def put(facts: dict[str, Any]) -> None:
        config = facts["config"]
        config[part] = config[part] | value if isinstance(value, dict) else value

    run = said_in(run_in(tmp_path / "made"), put)
    with pytest.raises(ConfigError) as raised:
        configuration(run)
    assert "\n" not in str(raised.value)
    directory(run)


def test_a_run_that_names_no_code_is_read_from_everywhere(tmp_path: Path) -> None:
    made = run_in(tmp_path / "made", "schedule=cosine")
    facts = json.loads((made / "run.json").read_text())
    # As the version before wrote it.
    del facts["config"]["trust"]
    (made / "run.json").write_text(json.dumps(facts))
    assert open_run(made.rename(tmp_path / "moved")).checked().steps == 120
    assert not any(str(tmp_path) in entry.read_text() for entry in state().glob("*"))
    # Nor does one of a model that an option of chord's has.
    made = run_in(tmp_path / "shipped", "model=smollm2")
    assert open_run(made.rename(tmp_path / "elsewhere")).config.model.path.startswith("pkg://")


def test_every_command_that_reads_a_run_asks(
    stranger: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        resume_run(stranger, compose_config(), [f"resume={stranger}"])
    trusted = resume_run(stranger, compose_config("trust=true"), ["trust=true"])
    assert trusted.config.trust is False
    evaluation = compose_config(f"run={stranger}", name="evaluate")
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        evaluate_run(stranger, parse(evaluation, EvaluateConfig))
    for command, arguments in (
        (chat.main, [str(stranger)]),
        (export.main, [str(stranger), "--to", str(stranger.parent / "x")]),
    ):
        with pytest.raises(SystemExit):
            command(arguments)
        assert capsys.readouterr().err.startswith(f"error: {NAMED}")
        # Past that there is no model.
        with pytest.raises(SystemExit):
            command([*arguments, "--trust"])
        assert "neither a final model" in capsys.readouterr().err
    # A step that was kept is read before; building data and models is what would import.
    monkeypatch.setattr("chord.step.nonfinite.saved.load_step", lambda _: (None, {}))
    monkeypatch.setattr("chord.run.build.build_data", lambda _: pytest.fail("built"))
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        replay(stranger)
    with pytest.raises(pytest.fail.Exception, match="built"):
        replay(stranger, trust=True)
    assert "chord_test_stranger" not in sys.modules


def test_an_unwritable_list_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHORD_STATE", str(tmp_path / "file"))
    run = run_in(tmp_path / "own", "reward=function", NAMED)
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {tmp_path}/file/runs: can't be written (Not a directory)")
    assert warning.endswith("can be resumed or evaluated only with trust=true\n")
    with pytest.raises(ConfigError, match=r"^reward\.function="):
        open_run(run)
