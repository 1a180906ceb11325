"""What a configuration file from elsewhere may say: SECURITY.md, lines 1 to 3."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import compose_config
from hydra import compose, initialize_config_dir
from hydra.core.default_element import ResultDefault
from trusting import SECRET, composed, refused, written

from chord.config.location import VERSION_BASE
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.trust import composing
from chord.errors import ConfigError


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
            "sweeper: {params: {schedule@hydra.callbacks.q: 'choice(a,b)'}}",
            "hydra.sweeper.params.schedule@hydra.callbacks.q=choice(a,b)",
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
        "# @package _global_\nhydra: {sweeper: {storage: x}}",
        "# @package _global_\ntrust: true",
        "# @package _global_\nresume: x",
    ],
)
def test_the_whole_is_checked_whatever_the_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    # A second wall: here the first one, which looks at each file, lets everything through.
    for module in ("files", "composing"):
        monkeypatch.setattr(f"chord.config.trust.{module}.check_content", lambda *_: None)
    monkeypatch.setattr("chord.config.trust.composing.check", lambda *_: None)
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
        r"{optional /zz: '\{oc.env:X}'}",
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


def test_what_a_file_from_elsewhere_brings_in_is_from_there_at_any_remove(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(composing, "is_foreign", lambda source, path: source == "theirs")
    repo: Any = SimpleNamespace(load_config=lambda path: SimpleNamespace(path=path))
    pairs = [("train", None), ("theirs", "train"), ("a", "theirs"), ("b", "a"), ("own", "train")]
    defaults = [ResultDefault(config_path=path, parent=parent) for path, parent in pairs]
    kept = composing._own(defaults, repo)
    assert [default.config_path for default in kept] == ["train", "own"]


def test_no_package_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "tracking")
    file = written(tmp_path, "experiment/x", f"# @package ${{oc.env:{SECRET}}}\nnotes: x\n")
    error = refused(tmp_path, "experiment=x")
    assert error.startswith(f"@package=${{oc.env:{SECRET}}}: {file} can't read the environment")


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


@pytest.mark.parametrize(
    "said",
    [
        *("resume: outputs/theirs", "resume_sweep: x", "fork: x", "trust: true"),
        *("dry_run: true", "skip_finished: true"),
    ],
)
def test_a_file_does_not_say_what_is_read_or_trusted(tmp_path: Path, said: str) -> None:
    written(tmp_path, "experiment/theirs", f"# @package _global_\n{said}\n")
    error = refused(tmp_path, "experiment=theirs")
    assert error.endswith("can't set it; give it on the command line"), error
    assert error.startswith(said.partition(":")[0] + "="), error


@pytest.mark.parametrize("said", ["run: outputs/mine", "to: /elsewhere"])
def test_a_file_does_not_say_where_an_evaluation_is_saved(tmp_path: Path, said: str) -> None:
    written(tmp_path, "evaluation/theirs", f"# @package _global_\n{said}\n")
    words = [f"hydra.searchpath=[file://{tmp_path}]", "evaluation=theirs"]
    with pytest.raises(ConfigError) as raised:
        compose_config(*words, name="evaluate")
    error = str(raised.value)
    assert error.startswith(said.replace(": ", "=")), error
    assert error.endswith("can't set it; give it on the command line"), error


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
