"""A command that can't do what it was asked for says so in a line, and leaves nothing behind."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from scripts import scripts

BAD = [
    "train data=jsonl data.problems=none.jsonl data.expert=null schedule=rl_only",
    "train data=jsonl data.problems=bad.jsonl data.expert=null schedule=rl_only",
    "train data=jsonl data.problems=empty.jsonl data.expert=null schedule=rl_only",
    "train model=hf model.path=nowhere teacher=none",
    "train model=hf model.path=directory teacher=none",
    "train model.path=bad.jsonl",
    "train target=soft teacher.path=bad.jsonl",
    "train target=soft target.cache=none",
    "train reward=function reward.function=none.py:f trust=true",
    "train evaluation.retained=[none.jsonl]",
    "train hydra.run.dir=bad.jsonl",
    "train resume=none",
    "train resume=directory",
    "train fork=none",
    "train resume_sweep=none",
    "train --config-dir nowhere",
    "train --config-name nowhere",
    "train -m seed=0,1 hydra/launcher=nowhere",
    "train -m seed=0,1 data=jsonl data.problems=bad.jsonl data.expert=null schedule=rl_only",
    "train -m hparams_search=nothing",
    "train -m resume_sweep=none",
    "check-data data=jsonl data.problems=bad.jsonl data.expert=null schedule=rl_only",
    "check-data steps=0",
    "evaluate",
    "evaluate none",
    "evaluate directory",
    "evaluate directory split=x to=new",
    "answers",
    "answers none",
    "answers directory",
    "chat none",
    "chat directory",
    "export none --to new",
    "export directory --to new",
    "make-expert --to new/e.jsonl model=hf model.path=nowhere teacher=none",
    "make-expert --to e.jsonl data=jsonl data.problems=bad.jsonl data.expert=null",
    "cache-teacher --to new/t.safetensors teacher.path=bad.jsonl",
    "cache-teacher --to t.safetensors teacher=none",
    "show schedule=cosin",
    "show schedule=linear --png bad.jsonl/x.png",
    "plan steps=0",
    "plan model=hf model.path=nowhere teacher=none",
    "doctor none",
    "replay none",
    "replay directory",
    "compare",
    "compare none --out new",
    "compare directory --out new",
    "dashboard nonsense",
    "pretrain nonsense",
]


@pytest.mark.parametrize("typed", BAD)
def test_bad_input_leaves_nothing(
    typed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.jsonl").write_text("{nonsense\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "directory").mkdir()
    name, *arguments = typed.split()
    module, _, function = scripts()[f"chord-{name}"].partition(":")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", [f"chord-{name}", *arguments])
    with pytest.raises(SystemExit) as ended:
        getattr(import_module(module), function)()
    assert ended.value.code == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "warning" not in each]
    assert line.startswith("error: ")
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"bad.jsonl", "empty.jsonl", "directory"}


def test_every_command_is_tried() -> None:
    assert {f"chord-{typed.split()[0]}" for typed in BAD} == scripts().keys()
