"""How often a command composes its configuration, and where `hydra.mode` may come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from sweeps import Command, command

from chord.config import plugins
from chord.config.location import CONF_DIR
from chord.schedules import Constant

__all__ = ["command"]
REFUSED = "error: steps=0: must be at least 1\n"


@dataclass(kw_only=True)
class Flat(Constant):
    pass


def test_a_run_composes_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    compose = ConfigLoaderImpl._load_configuration_impl

    def count(self: ConfigLoaderImpl, *arguments: Any, **settings: Any) -> Any:
        composed.append(arguments)
        return compose(self, *arguments, **settings)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", count)
    assert command("steps=0") == 1
    assert command.err == REFUSED
    assert len(composed) == 1


def test_no_file_of_ours_says_whether_a_command_is_a_sweep() -> None:
    words = ("  mode: RUN", "  mode: MULTIRUN", "searchpath:")
    assert not [f for f in CONF_DIR.rglob("*.yaml") if any(word in f.read_text() for word in words)]


@pytest.mark.parametrize("typed", ["hydra.mode=MULTIRUN", "++hydra.mode=MULTIRUN"])
def test_a_mode_that_is_typed_makes_a_sweep(command: Command, typed: str) -> None:
    assert command(typed, "seed=0,1", "steps=0") == 1
    assert command.err == REFUSED


@pytest.mark.usefixtures("registry")
def test_a_mode_in_a_file_of_a_plugin_makes_a_sweep(command: Command, tmp_path: Path) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    file = tmp_path / "conf/experiment/grid.yaml"
    file.write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n")
    plugins.register("schedule", "flat", Flat, conf=tmp_path / "conf")
    assert command("experiment=grid", "seed=0,1", "steps=0") == 1
    assert command.err == REFUSED
