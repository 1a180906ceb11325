"""What a reward function imports is part of the run as much as the function itself."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sweeps import Command, command

from chord.data.batch import Problem
from chord.doctor.directory import directory
from chord.doctor.finding import WRONG
from chord.io.contents import difference
from chord.rewards import Function, Numeric, Weighted
from chord.rewards.base import ChangedCodeError
from chord.rewards.modules import local_modules, module_content
from chord.rewards.workers import module_places
from chord.run.opening import configuration
from chord.step.module import ChordModule

__all__ = ["command"]


def write(place: Path, **files: str) -> None:
    """Modules by their names; `__` stands for a dot."""
    for name, text in files.items():
        file = place / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


PROBLEM = Problem(prompt="2+2=", answer="4", key=0)
SOURCE = """
import scored_by
def score(answer, response):
    return scored_by.same(answer, response)
"""
HELPER = """
def same(answer, response):
    return float(answer == response)
"""
OTHER = HELPER.replace("==", "!=")


def package(place: Path, name: str, text: str = "") -> None:
    (place / name).mkdir(parents=True, exist_ok=True)
    (place / name / "__init__.py").write_text(text)


def test_what_a_module_imports_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package(tmp_path, "zoo", "raise SystemExit('imported')")
    package(tmp_path, "zoo/cats", "from ..dogs import bark")
    write(
        tmp_path,
        zoo__judge="import json, os.path, sympy, torch, chord.data.batch\n"
        "from . import birds\nfrom .cats import lion as king, tail\n"
        "def score(response):\n    from helper import same\n    import broken\n"
        "    import_module('by_name'); importlib.import_module('.by_dot', 'zoo')\n",
        zoo__birds="from namespace.deep import inside",
        zoo__dogs="import zoo.judge",
        zoo__unread="",
        zoo__by_dot="from many import *",
        zoo__cats__lion="",
        helper="import os\nif os.name == 'none':\n    import helper_of_helper",
        helper_of_helper="",
        broken="def (:",
        by_name="x = 1",
        namespace__deep__inside="",
    )
    package(tmp_path, "many", "__all__ = ['one']")
    write(tmp_path, many__one="")
    assert sorted(local_modules("zoo.judge")) == [
        "broken", "by_name", "helper", "helper_of_helper", "many", "many.one",
        "namespace.deep.inside", "zoo", "zoo.birds", "zoo.by_dot", "zoo.cats", "zoo.cats.lion",
        "zoo.dogs", "zoo.judge",
    ]  # fmt: skip
    assert "zoo" not in sys.modules
    assert local_modules("nowhere.at_all") == {}
    assert module_content("nowhere") is None


def test_a_module_counts_with_all_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, alone="import json\n")
    digest = hashlib.sha256(b"import json\n").hexdigest()
    assert module_content("alone") == {
        "path": str(tmp_path / "alone.py"), "sha256": digest, "bytes": 12
    }  # fmt: skip
    write(tmp_path, alone="import other\n", other="a")
    one, other = (hashlib.sha256(text).hexdigest() for text in (b"import other\n", b"a"))
    before = module_content("alone")
    assert before == {
        "path": str(tmp_path / "alone.py"),
        "sha256": hashlib.sha256(f"{one}  alone\n{other}  other\n".encode()).hexdigest(),
        "bytes": 14,
        "modules": {"alone": one, "other": other},
    }
    write(tmp_path, other="def (:")
    after = module_content("alone")
    assert after is not None
    assert after["sha256"] != before["sha256"]
    assert difference(before, after).startswith("has changed in other (sha256 ")
    assert difference({"modules": 3}, after).startswith("has changed (sha256 unknown")


def test_a_module_of_an_installed_package_counts_with_its_package_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(place))
    package(place, "judges")
    package(place, "numbers_of_others")
    write(place, judges__one="import numbers_of_others, judges.two", judges__two="")
    assert sorted(local_modules("judges.one")) == ["judges", "judges.one", "judges.two"]


@pytest.mark.faults
def test_a_helper_of_a_reward_function_that_has_changed_is_said_and_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(command.where))
    write(command.where, with_helper=SOURCE, scored_by=HELPER)
    words = ["reward=function", "reward.function=with_helper:score", "steps=1"]
    assert command(*words, "hydra.run.dir=outputs/one") == 0, command.err
    known = json.loads((command.where / "outputs/one/run.json").read_text())["contents"]
    assert list(known["reward.function"]["modules"]) == ["scored_by", "with_helper"]
    assert command("-m", *words, "skip_finished=true", "hydra.sweep.dir=outputs/s") == 0
    assert "not run: equal to outputs/one" in command.out
    write(command.where, scored_by=OTHER)
    assert command("resume=outputs/one", "steps=2", own=False) == 1
    file = command.where / "with_helper.py"
    assert command.err.startswith(
        f"error: reward.function={file}: has changed in scored_by (sha256 "
    )
    found = directory(command.where / "outputs/one")
    assert any("has changed in scored_by" in each.what for each in found)
    assert command("-m", *words, "skip_finished=true", "hydra.sweep.dir=outputs/t") == 0
    assert "not run" not in command.out
    allowed = "allow_changed=[reward.function]"
    assert command("resume=outputs/one", "steps=2", allowed, own=False) == 0, command.err


@pytest.mark.faults
def test_a_run_takes_its_reward_function_from_where_it_was_started(
    command: Command, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = command.where, tmp_path_factory.mktemp("elsewhere")
    write(home, of_the_run=SOURCE, scored_by=HELPER)
    write(elsewhere, of_the_run="raise SystemExit('another one')", scored_by=OTHER)
    words = ["reward=function", "reward.function=of_the_run:score", "steps=1"]
    assert command(*words, "hydra.run.dir=r") == 0, command.err
    command.where = elsewhere
    assert command(f"resume={home}/r", "steps=2", own=False) == 0, command.err
    command.monkeypatch.chdir(elsewhere)
    reward = configuration(home / "r").reward
    assert capsys.readouterr().err == ""
    with closing(reward):
        assert [each.score for each in reward.graded([PROBLEM] * 2, ["4", "5"], [1, 1])] == [1, 0]
    assert not [each for each in directory(home / "r") if each.mark == WRONG]


def test_parts_look_where_the_whole_reward_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here", of_a_part="")
    write(tmp_path / "there", of_a_part="x = 1")
    monkeypatch.chdir(tmp_path / "here")
    reward = Weighted(parts={"a": Function(function="of_a_part:f")}, weights={"a": 1.0}, score="a")
    for place in ("here", "there"):
        file = str(tmp_path / place / "of_a_part.py")
        assert reward.files() == {"reward.parts.a.function": file}
        assert reward.contents()["reward.parts.a.function"]["path"] == file
        assert module_places(reward.parts["a"]).index(str(tmp_path / place)) >= 0
        reward.look_first_in(str(tmp_path / "there"))


def end_workers(reward: Function) -> None:
    """As a process that takes too much memory ends them."""
    for worker in reward.pool()._workers:
        worker.process.kill()
        worker.process.wait()


@pytest.mark.faults
@pytest.mark.parametrize("weighted", [False, True])
def test_a_worker_is_not_replaced_by_one_that_scores_by_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, with_helper=SOURCE, scored_by=HELPER)
    own = Function(function="with_helper:score")
    parts = Weighted(
        parts={"own": own, "exact": Numeric()}, weights={"own": 1, "exact": 1}, score="own"
    )
    reward = parts if weighted else own
    setting = "reward.parts.own.function" if weighted else "reward.function"

    def scores(*responses: str) -> list[float]:
        count = len(responses)
        return [each.score for each in reward.graded([PROBLEM] * count, responses, [1] * count)]

    try:
        assert scores("4") == [1]
        end_workers(own)
        assert scores("4") == [1]
        write(tmp_path, scored_by=OTHER)
        # The one that is there has imported what it needs.
        assert scores("4") == [1]
        end_workers(own)
        with pytest.raises(ChangedCodeError) as refused:
            scores("4")
        file = tmp_path / "with_helper.py"
        assert str(refused.value).startswith(f"{setting}={file}: has changed in scored_by (sha256 ")
        write(tmp_path, scored_by=HELPER)
        assert scores("4", "5") == [1, 0]
    finally:
        reward.close()


@pytest.mark.faults
@pytest.mark.parametrize("ends", [False, True])
def test_a_run_does_not_go_on_with_two_reward_functions(
    command: Command, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.syspath_prepend(str(command.where))
    write(command.where, with_helper=SOURCE, scored_by=HELPER)
    update = ChordModule.update

    def updated(self: ChordModule, *arguments: Any) -> Any:
        if arguments[0] == 1:
            write(command.where, scored_by=OTHER)
            if ends:
                end_workers(self.config.reward)  # type: ignore[arg-type]
        return update(self, *arguments)

    words = ["experiment=rl", "reward=function", "reward.function=with_helper:score", "steps=3"]
    file = command.where / "with_helper.py"
    with monkeypatch.context() as patch:
        patch.setattr(ChordModule, "update", updated)
        every = ["trainer.checkpoint_every=1", "evaluation.every=0"]
        code = command(*words, *every, "hydra.run.dir=one")
    said = f"reward.function={file}: has changed in scored_by (sha256 "
    known = json.loads((command.where / "one/run.json").read_text())
    if not ends:
        # The workers had imported the old one; a function may import later, so it is on record.
        assert code == 0, command.err
        assert f"warning: {said}" in command.err
        assert [each["setting"] for each in known["changes"]] == ["reward.function"]
        return
    assert code == 1
    assert known["changes"] == []
    assert command.status("one")["status"] == "failed"
    assert f"\nerror: {said}" in command.err
    assert "; the checkpoint after step 2 is kept: restore the file, or give allow_changed to " in (
        command.err
    )
    assert command("resume=one", own=False) == 1
    assert command("resume=one", "allow_changed=[reward.function]", own=False) == 0, command.err
    (change,) = json.loads((command.where / "one/run.json").read_text())["changes"]
    assert (change["step"], change["setting"]) == (2, "reward.function")
