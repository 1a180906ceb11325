"""Code that was written for version 0.1 goes on working."""

import importlib
import sys
from pathlib import Path

import pytest

import chord.plugins
from chord.config.registry import SCHEMAS
from chord.io.moved import ADDRESSES

PLUGIN = """
from dataclasses import dataclass

from chord.advantages import Advantage
from chord.data.base import Data, DataConfig
from chord.data.batch import Pair, Problem
from chord.losses import Objective
from chord.plugins import register
from chord.rewards import Grader, Isolated, Reward
from chord.schedules import Controller, Schedule
from chord.weightings import Weighting, WeightInputs


@dataclass(kw_only=True)
class Even(Reward):
    def score(self, problem: Problem, response: str) -> float:
        return float(len(response) % 2 == 0)


register("reward", "even", Even)
"""


@pytest.mark.parametrize("former", sorted(ADDRESSES))
def test_a_module_is_found_at_its_former_address(
    former: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, former, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{former} is now {ADDRESSES[former]}"):
        found = importlib.import_module(former)
    present = importlib.import_module(ADDRESSES[former])
    public = [name for name in vars(present) if not name.startswith("_")]
    assert public
    for name in public:
        assert getattr(found, name) is getattr(present, name)


@pytest.mark.filterwarnings("ignore:chord.advantages is now:DeprecationWarning")
def test_a_plugin_of_the_version_before_is_an_option(
    tmp_path: Path, registry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chord_test_former.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("chord_test_former")
    assert SCHEMAS["reward"]["even"] is module.Even
    assert chord.plugins.register.__module__ == "chord.config.plugins"
    sys.modules.pop("chord_test_former")
