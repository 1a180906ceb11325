"""Options of other packages: the registry, what it refuses, and a package that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from conftest import compose_config, small_composed
from omegaconf import OmegaConf
from pages import ROOT, blocks

from chord.command_line.help import help_text
from chord.config import plugins
from chord.config.composing import register
from chord.config.parse import parse
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.config.schemas import restore, schema_names
from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.opening import open_run
from chord.run.training import train
from chord.schedules import Constant, Schedule

pytestmark = pytest.mark.usefixtures("registry")
PAGE = ROOT / "docs" / "plugins.md"


@dataclass(kw_only=True)
class Half(Schedule):
    def __call__(self, step: int, state: dict[str, float] | None = None) -> float:
        return 0.5


def write_example(directory: Path) -> Path:
    """The package of docs/plugins.md, file by file as it stands there."""
    bell, digits = blocks(PAGE, "yaml")
    (pyproject,), (source,) = blocks(PAGE, "toml"), blocks(PAGE, "python")
    for name, text in {
        "pyproject.toml": pyproject,
        "chord_bell/__init__.py": source,
        "chord_bell/conf/weighting/bell.yaml": bell,
        "chord_bell/conf/reward/digits.yaml": digits,
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def installed(
    monkeypatch: pytest.MonkeyPatch, directory: Path, value: str, name: str = "bell"
) -> None:
    """Pretend that a package in `directory` with one entry point is installed."""
    monkeypatch.syspath_prepend(directory)
    for module in [m for m in sys.modules if m.startswith(("chord_bell", "plugged"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [EntryPoint(name=name, value=value, group=group)]
    )


def test_a_registered_class_is_an_option_with_a_yaml_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "half.yaml").write_text(
        "# half\ndefaults: [/schema/schedule/half@_here_, _self_]\n"
    )
    plugins.register("schedule", "half", Half, conf=tmp_path)
    plugins.register("schedule", "half", Half, conf=tmp_path)  # once more is no mistake
    composed = compose_config("schedule=half", "experiment=smoke")
    assert isinstance(parse(composed, TrainConfig).schedule, Half)
    assert f"  {'half':<18} half ({__name__})\n" in help_text("train")


def test_a_directory_given_on_the_command_line_may_hold_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "mine.yaml").write_text(
        "# mine\ndefaults: [/schema/schedule/half@_here_, _self_]\n"
    )
    plugins.register("schedule", "half", Half)
    composed = compose_config(f"hydra.searchpath=[file://{tmp_path}]", "schedule=mine")
    assert isinstance(parse(composed, TrainConfig).schedule, Half)
    assert f"  {'mine':<18} mine ({tmp_path})\n" in help_text("train", [tmp_path])


class NoDataclass(Schedule):
    def __call__(self, step: int, state: dict[str, float] | None = None) -> float:
        return 0.5


class Undecorated(Constant):
    setting: int = 3


@dataclass(kw_only=True)
class Unfinished(Schedule):
    pass


@dataclass(kw_only=True)
class OddSetting(Half):
    factor: complex = 1j


@pytest.mark.parametrize(
    ("group", "name", "schema", "parts"),
    [
        ("schedule", "cosine", Half, ["schedule=cosine", "exists already", "Cosine"]),
        ("shedule", "half", Half, ["shedule=half", "no such group", "'schedule'"]),
        ("weighting", "half", Half, ["weighting=half", "inherit from chord.weightings", "Half"]),
        ("schedule", "half", NoDataclass, ["NoDataclass", "@dataclass(kw_only=True)"]),
        ("schedule", "half", Undecorated, ["Undecorated", "@dataclass(kw_only=True)"]),
        ("schedule", "half", Unfinished, ["Unfinished has no __call__"]),
        ("schedule", "half", Half(), ["must be a class"]),
        ("schedule", "a/b", Half, ["a name is made of"]),
        ("schedule", "odd", OddSetting, ["schedule=odd", "complex"]),
    ],
)
def test_what_can_not_be_registered_is_said_in_one_line(
    group: str, name: str, schema: type, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.register(group, name, schema)
    line = str(caught.value)
    assert line.startswith(f"plugin {getattr(schema, '__module__', __name__)}: ")
    assert "\n" not in line
    assert not [part for part in parts if part not in line], line
    assert Half not in SCHEMAS["schedule"].values()


def test_a_file_that_would_never_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "chord_mu.yaml").write_text("# hidden behind chord's own\n")
    with pytest.raises(ConfigError, match="the option schedule=chord_mu of"):
        plugins.register("schedule", "half", Half, conf=tmp_path)
    assert "half" not in SCHEMAS["schedule"]


def test_the_example_composes_trains_and_is_found_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_models: Path
) -> None:
    installed(monkeypatch, write_example(tmp_path), "chord_bell")
    register()
    register()  # as every command does: loaded once
    overrides = ["weighting=bell", "weighting.center=0.3", "reward=digits"]
    composed = small_composed(small_models, *overrides)
    config = parse(composed, TrainConfig)
    assert type(config.weighting).__name__ == "Bell"
    # 4012 for 4042: three of four digits are right, the answer is not.
    problem = Problem(prompt="47*86=", answer="4042", key=1)
    assert (config.reward.score(problem, "4012"), config.reward.reward(problem, "4012")) == (
        0,
        0.75,
    )
    assert schema_names(composed)["weighting"] == "bell"
    train(config, RunDirectory(tmp_path / "run", composed, "run", overrides))
    again = parse(open_run(tmp_path / "run").config, TrainConfig)
    assert (again.weighting, again.reward) == (config.weighting, config.reward)
    assert '"plugin bell": ""' in (tmp_path / "run" / "run.json").read_text()


def test_a_run_whose_plugin_is_gone_says_so() -> None:
    composed = compose_config()
    names = {**schema_names(composed), "weighting": "bell"}
    values = OmegaConf.create(OmegaConf.to_container(composed))
    with pytest.raises(ConfigError, match=r"weighting=bell: .* plugin that is not installed"):
        restore(values, names)


def test_an_entry_point_may_name_a_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "plugged.py").write_text(
        "from test_plugins import Half\nfrom chord.plugins import register\n"
        "def setup():\n    register('schedule', 'half', Half)\n"
    )
    installed(monkeypatch, tmp_path, "plugged:setup")
    plugins.load()
    plugins.load()
    assert SCHEMAS["schedule"]["half"].__name__ == "Half"


def test_a_plugin_that_fails_is_named_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "plugged.py").write_text(
        "from test_plugins import Half\nfrom chord.plugins import register\n"
        "register('schedule', 'half', Half)\nimport a_module_that_is_not_there\n"
    )
    installed(monkeypatch, tmp_path, "plugged", name="broken")
    expected = "plugin broken: plugged can't be loaded (ModuleNotFoundError: No module named"
    with pytest.raises(ConfigError) as caught:
        register()
    assert str(caught.value).startswith(expected)
    assert "half" not in SCHEMAS["schedule"]


@pytest.mark.slow
def test_the_example_is_built_installed_and_used(
    tmp_path: Path, small_models: Path, run_command: Callable[..., str]
) -> None:
    write_example(tmp_path / "source")
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, "--no-index", "--target", target, tmp_path / "source"], check=True, timeout=300
    )
    assert (target / "chord_bell" / "conf" / "weighting" / "bell.yaml").exists()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    help_lines = run_command("chord.train", "--help", env=environment)
    assert "the share of right digits from the last one on; scored on the whole" in help_lines
    # At its center the weight is 1.
    numbers = run_command("chord.show", "weighting=bell", env=environment).splitlines()
    assert [line.split()[4] for line in numbers if line.startswith("bell ")] == ["1.000"]
    small = [
        f"model.path={small_models}/base.safetensors", "experiment=smoke", "steps=2",
        "tracking=off", "rollout.problems=2", "rollout.group_size=2", "evaluation.val_problems=2",
        "evaluation.val_retained=1", "evaluation.pairs=2", "evaluation.test_problems=2",
        "evaluation.test_retained=1", f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    run_command("chord.train", "weighting=bell", "reward=digits", *small, env=environment)
    resume = [f"resume={tmp_path / 'run'}", "steps=3"]
    run_command("chord.train", *resume, env=environment)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3
    assert '"plugin bell": "1.0"' in (tmp_path / "run" / "run.json").read_text()


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., str]:
    def run(module: str, *arguments: str, env: dict[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=env, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
