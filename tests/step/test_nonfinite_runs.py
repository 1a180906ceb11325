"""A run that meets a gradient that is not finite: it stops or skips, and can be replayed."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_composed
from steps import poison

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.replay.command import main as replay
from chord.run.directory import RunDirectory
from chord.run.files import read_rows
from chord.run.training import train
from chord.step.module import ChordModule
from chord.step.nonfinite.saved import load_step, save_step
from chord.step.plan import Plan
from chord.weightings import Phi

pytestmark = pytest.mark.faults


def go(models: Path, path: Path, *overrides: str, resume: bool = False) -> Any:
    composed = small_composed(models, *overrides)
    run = RunDirectory(path, composed, "run")
    if resume:
        from chord.run.resuming import resume_run

        run = resume_run(path, composed, [*overrides])
        return train(run.checked(), run)
    return train(parse(composed, TrainConfig), run)


def bad_steps(patch: pytest.MonkeyPatch, *bad: int, value: float = math.inf) -> None:
    """Advantages of these steps are infinite, or too large, in their second row."""
    collect = ChordModule.plan

    def plan(self: ChordModule, step: int) -> Plan:
        found = collect(self, step)
        if step not in bad or found.rollouts is None:
            return found
        advantages = found.rollouts.rows.advantages.clone()
        advantages[1] = value
        rows = replace(found.rollouts.rows, advantages=advantages)
        return replace(found, rollouts=replace(found.rollouts, rows=rows))

    patch.setattr(ChordModule, "plan", plan)


RUN = ("steps=6", "tracking=off", "evaluation.every=0")


def test_a_run_stops_names_the_row_and_can_be_replayed(
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a run"
    bad_steps(monkeypatch, 3)
    with pytest.raises(ConfigError) as caught:
        go(small_models, path, *RUN)
    said = str(caught.value)
    assert said.startswith(
        "trainer.on_nonfinite=stop: the gradient of step 3 is not finite: RL branch, row 1: "
        "the advantage is inf; take it again with python -m chord.replay "
    )
    assert said.endswith(f"python -m chord.replay '{path}'")
    assert "optimizer.lr" not in said
    # It would be met again.
    assert "resume=" not in capsys.readouterr().err
    assert len(read_rows(path / "metrics.jsonl")) == 3
    replay([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "then: RL branch, row 1: the advantage is inf",
        "now:  RL branch, row 1: the advantage is inf",
    ]


def test_a_replay_shows_the_rows_that_are_wrong_or_all(
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad_steps(monkeypatch, 0, value=3e38)
    with pytest.raises(ConfigError, match="RL branch, row 1: the loss is"):
        go(small_models, tmp_path / "run", "objective=reinforce", *RUN)
    monkeypatch.setenv("COLUMNS", "200")
    for words, branches in (([], ["RL"]), (["--all"], ["SFT"] * 3 + ["RL"] * 4)):
        capsys.readouterr()
        replay([str(tmp_path / "run"), *words])
        out = capsys.readouterr().out
        assert re.match(r"step 0, learning rate \d", out)
        assert "\n1 of 7 rows are not finite\n" in out
        rows = [line.split() for line in out.splitlines() if re.match(r" +(SFT|RL) ", line)]
        assert [row[0] for row in rows] == branches
        assert [row[1] for row in rows if "loss" in row] == ["1"]
    # The weights are those that were kept.
    step, weights = load_step(tmp_path / "run")
    weights["embedding.weight"][0, 0] = math.nan
    save_step(tmp_path / "run", step, weights)
    replay([str(tmp_path / "run")])
    assert "\nnow:  the policy's weight embedding.weight (1 of " in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("optimizer@sft_optimizer=adamw",)])
def test_a_skipped_step_leaves_the_weights_and_is_counted(
    more: tuple[str, ...],
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad_steps(monkeypatch, 0, 1, 4)
    skip = (*RUN, *more, "trainer.on_nonfinite=skip")
    outcome = go(small_models, tmp_path / "run", *skip)
    assert all(bool(torch.isfinite(p).all()) for p in outcome.module.policy.parameters())
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["grad/skipped"] for row in rows] == [1, 1, 0, 0, 1, 0]
    assert [row["grad/norm"] is None for row in rows] == [True, True, False, False, True, False]
    err = capsys.readouterr().err
    # The second in a row says nothing new.
    assert [f"warning: step {n} is left out: RL branch, row 1: the advantage is inf" in err
            for n in (0, 1, 4)] == [True, False, True]  # fmt: skip


def test_skips_in_a_row_have_a_limit_that_a_resume_remembers(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_steps(monkeypatch, 1, 2, 3, 4)
    limit = ("trainer.on_nonfinite=skip", "trainer.skip_limit=2")
    for resume in (False, True):
        overrides = (f"resume={tmp_path / 'run'}",) if resume else (*RUN, *limit)
        with pytest.raises(
            ConfigError, match=r"^trainer\.skip_limit=2: 3 optimizer steps in a row"
        ):
            go(small_models, tmp_path / "run", *overrides, resume=resume)
        assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 3


def test_a_run_that_stopped_goes_on_with_skips_as_if_it_had_begun_with_them(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_steps(monkeypatch, 3)
    go(small_models, tmp_path / "whole", *RUN, "trainer.on_nonfinite=skip")
    with pytest.raises(ConfigError):
        go(small_models, tmp_path / "cut", *RUN)
    go(small_models, tmp_path / "cut", f"resume={tmp_path / 'cut'}",
       "trainer.on_nonfinite=skip", resume=True)  # fmt: skip
    whole, cut = (read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert whole[3:] == cut[3:]


def test_a_run_with_a_rule_that_is_wrong_stops_in_one_line(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Phi.raw
    monkeypatch.setattr(Phi, "raw", lambda self, at: -raw(self, at))
    with pytest.raises(ConfigError, match=r"^weighting: Phi gave the weight -"):
        go(small_models, tmp_path / "run", "weighting=phi", *RUN)


def test_a_teacher_that_is_not_finite_is_named_and_not_the_rule(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ChordModule.plan

    def poisoned(self: ChordModule, step: int) -> Plan:
        if step == 2:
            poison(self.models.teacher, "blocks.0.down.weight")
        return plan(self, step)

    monkeypatch.setattr(ChordModule, "plan", poisoned)
    with pytest.raises(ConfigError, match=r"teacher's weight blocks\.0\.down\.weight \(1 of "):
        go(small_models, tmp_path / "run", "weighting=margin", *RUN)
