"""What else SECURITY.md promises: of models, comparisons, searches and the API key."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pages import ROOT
from trusting import run_in, stranger

from chord.command_line.hydra import launch
from chord.compare.reading import read_runs
from chord.errors import ConfigError
from chord.models.hf.config import HFModel
from chord.models.hf.source import find
from chord.run.opening import open_run
from chord.sweep.space import Choice, Range, Space, may_choose
from chord.tracking.server import refuse_settings_here
from chord.tracking.wandb_access import unreachable

__all__ = ["stranger"]


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
            assert not re.search(
                r"import_module|chord\.run\.(directory|trained|training|build)\b|open_run",
                file.read_text(),
            ), file


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
        launch(lambda _: pytest.fail("ran"), "train")
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


@pytest.mark.parametrize("folder", ["wandb", ".wandb"])
def test_the_current_directory_does_not_say_where_the_key_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_account: Path, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    settings = tmp_path / folder / "settings"
    settings.parent.mkdir()
    for name, value in (("base_url", "http://there.example"), ("https_proxy", "http://there")):
        settings.write_text(f"[default]\n{name} = {value}\n")
        with pytest.raises(ValueError, match=rf"^{name}={value}: {folder}/settings of the cur"):
            unreachable()
    # What `wandb init` writes, and a server that the user has named elsewhere.
    settings.write_text("[default]\nentity = a\nproject = b\nbase_url = https://api.wandb.ai/\n")
    refuse_settings_here()
    settings.write_text("[default]\nbase_url = http://mine.example\n")
    own = no_account / ".config" / "wandb" / "settings"
    own.parent.mkdir(parents=True)
    own.write_text("[default]\nbase_url = http://mine.example/\n")
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
