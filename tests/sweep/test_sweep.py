"""A sweep as it is typed: what its jobs leave, what is shown, and how one goes on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from sweeps import Command, command, contents, damaged, interrupt_at

from chord.run import status
from chord.run.checkpointing import Checkpointing
from chord.run.files import read_status
from chord.step.module import ChordModule
from chord.sweep.naming import TAGGED

__all__ = ["command"]
GRID = ["-m", "schedule=linear,cosine", "seed=0,1", "hydra.sweep.dir=s"]


def test_every_job_says_how_it_ended_and_is_named_by_what_differs(command: Command) -> None:
    assert command(*GRID, "weighting=phi", "tracking=wandb") == 0, command.err
    names = []
    for job in range(4):
        facts = command.status(f"s/{job}")
        assert (facts["status"], facts["error"], facts["job"]) == ("finished", None, job)
        assert facts["sweep"] == "s"
        run = json.loads((command.where / f"s/{job}/run.json").read_text())
        names.append(run["name"])
        tracking = run["config"]["tracking"]
        assert tracking["group"] == "s"
        schedule, seed = ("linear", "cosine")[job // 2], job % 2
        tags = [f"schedule={schedule}", "weighting=phi", "objective=grpo", f"seed={seed}"]
        assert tracking["tags"] == tags
        assert [f"{group}={run['options'][group]}" for group in TAGGED] == tags[:3]
        assert not [group for group in run["options"] if group.startswith("hydra")]
    assert names == [f"schedule={s} seed={n}" for s in ("linear", "cosine") for n in (0, 1)]
    assert len({command.status(f"s/{job}")["fingerprint"] for job in range(4)}) == 4
    assert [row[:4] for row in command.rows()] == [
        [str(job), ("linear", "cosine")[job // 2], str(job % 2), "finished"] for job in range(4)
    ]
    last = json.loads((command.where / "s/3/evaluations.jsonl").read_text().splitlines()[-3])
    assert command.rows()[3][4] == f"{last['val/balance_at_0.5']:.4f}"
    # Each its own: one file for each job in the sweep's directory.
    assert len(list((command.where / "s/wandb").glob("offline-run-*/run-*.wandb"))) == 4


def test_a_status_is_written_at_the_start_and_at_the_end(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = status.record
    monkeypatch.setattr(
        status, "record", lambda run, *how: (written.append(how[0]), write(run, *how))
    )
    monkeypatch.setattr(ChordModule, "update", lambda *_: 1 / 0)
    assert command("-m", "seed=0", "hydra.sweep.dir=s") == 1
    assert written == ["running", "failed"]


def test_group_and_tags_of_the_user_stay(command: Command) -> None:
    own = ["tracking=wandb", "tracking.group=mine", "tracking.tags=[a]", "tracking.mode=offline"]
    assert command("-m", "seed=0", "hydra.sweep.dir=s", *own) == 0, command.out
    tracking = json.loads((command.where / "s/0/run.json").read_text())["config"]["tracking"]
    assert (tracking["group"], tracking["tags"]) == ("mine", ["a"])


def test_a_failed_job_stops_no_other_and_alone_runs_again(
    command: Command, small_models: Path
) -> None:
    model = damaged(small_models, command.where)
    grid = ["-m", f"model.path={model},{small_models}/base.safetensors", "seed=0,1"]
    assert command(*grid, "hydra.sweep.dir=s") == 1
    line = f"model.path={model}: checkpoint {model}: weights do not fit"
    assert [command.status(f"s/{n}")["status"] for n in range(4)] == ["failed"] * 2 + [
        "finished"
    ] * 2
    assert str(command.status("s/0")["error"]).startswith(line)
    assert not (command.where / "s/0/run.json").exists()
    # The last column is folded where a path is long.
    last = "".join(re.split(r"\s{2,}", line.rstrip())[-1] for line in command.out.splitlines())
    assert "weightsdonotfit" in last.replace(" ", "")
    assert command.err.endswith("error: 2 of 4 jobs failed\n")
    assert "Traceback" not in command.err + command.out
    assert "resume_sweep=s" in command.err
    before = {n: os.stat(command.where / f"s/{n}/status.json").st_mtime_ns for n in range(4)}
    assert command(*grid, "resume_sweep=s") == 1
    again = [
        os.stat(command.where / f"s/{n}/status.json").st_mtime_ns != before[n] for n in range(4)
    ]
    assert again == [True, True, False, False]
    assert command.out.count("already finished") == 2


def test_a_defect_is_told_in_one_line_with_the_traceback_in_the_log(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect\nof two lines")

    monkeypatch.setattr(ChordModule, "update", broken)
    assert command("-m", "seed=0,1", "hydra.sweep.dir=s") == 1
    assert command.status("s/1")["error"] == "RuntimeError: a defect of two lines"
    assert "Traceback" not in command.err + command.out
    assert "Traceback" in (command.where / "s/1/train.log").read_text()


def test_an_interrupted_sweep_goes_on_exactly(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ["-m", "schedule=linear", "seed=0,1,2", "steps=4"]
    assert command(*grid, "hydra.sweep.dir=whole") == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)  # the third step of the second job
        assert command(*grid, "hydra.sweep.dir=cut") == 130
    statuses = [read_status(command.where / f"cut/{n}").get("status") for n in range(3)]
    assert statuses == ["finished", "interrupted", None]
    assert [row[2] for row in command.rows()] == ["finished", "interrupted", "not"]
    saved: list[int] = []
    with monkeypatch.context() as patch:
        save = Checkpointing.save
        patch.setattr(Checkpointing, "save", lambda *a: (saved.append(1), save(*a))[1])
        assert command(*grid, "resume_sweep=cut") == 0
    # Two of the second job's four steps were done, and none of the third's.
    assert len(saved) == 2 + 4
    for n in range(3):
        assert contents(command.where / f"cut/{n}") == contents(command.where / f"whole/{n}")
    assert [row[3] for row in command.rows()] == [
        f"{last_validation(command.where / f'whole/{n}'):.4f}" for n in range(3)
    ]


def test_an_interruption_that_a_launcher_keeps_to_itself_counts(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    instantiate = Plugins.instantiate_launcher

    def silent(self: Plugins, **settings: Any) -> Launcher:
        launcher = instantiate(self, **settings)
        launch = launcher.launch

        def launch_silently(*jobs: Any) -> Sequence[Any]:
            with suppress(KeyboardInterrupt):
                return launch(*jobs)
            return []

        monkeypatch.setattr(launcher, "launch", launch_silently)
        return launcher

    monkeypatch.setattr(Plugins, "instantiate_launcher", silent)
    interrupt_at(monkeypatch, 1)
    assert command("-m", "seed=0", "hydra.sweep.dir=s") == 1
    assert command.status("s/0")["status"] == "interrupted"
    assert command.err.endswith("error: 1 of 1 jobs failed or were interrupted\n")


def last_validation(path: Path) -> float:
    rows = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    kept = [r for r in rows if (r["split"], r["model"]) == ("val", "trained")]
    return float(kept[-1]["val/balance_at_0.5"])


def test_equal_finished_runs_count_where_that_is_asked_for(command: Command) -> None:
    assert command("seed=1", "hydra.run.dir=outputs/one", "sweep_metric=val/rl_reward") == 0
    grid = ["-m", "seed=0,1,2"]
    assert command(*grid, "skip_finished=true", "hydra.sweep.dir=outputs/s") == 0
    assert (command.where / "outputs/s/1").resolve() == command.where / "outputs/one"
    assert "not run: equal to outputs/one" in command.out
    assert [row[2] for row in command.rows()] == ["finished"] * 3
    facts = json.loads((command.where / "outputs/one/run.json").read_text())
    facts["versions"]["chord-posttraining"] = "0.0.1"
    (command.where / "outputs/one/run.json").write_text(json.dumps(facts))
    assert command("-m", "seed=1", "skip_finished=true", "hydra.sweep.dir=outputs/t") == 0
    assert not (command.where / "outputs/t/1").is_symlink()
    assert "not run" not in command.out


def test_a_single_run_says_how_it_ended_too(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("hydra.run.dir=one", "seed=3") == 0
    facts = command.status("one")
    assert (facts["status"], facts["sweep"], facts["job"]) == ("finished", None, None)
    # A mistake in what is to go on leaves the run alone.
    assert command("resume=one", "steps=1") == 1
    assert command.status("one") == facts
    with monkeypatch.context() as patch:
        patch.setattr(ChordModule, "update", lambda *_: exec("raise KeyboardInterrupt"))
        assert command("hydra.run.dir=two") == 130
    assert command.status("two")["status"] == "interrupted"


def test_a_job_that_fails_before_it_goes_on_with_a_run_leaves_its_status_alone(
    command: Command,
) -> None:
    assert command("hydra.run.dir=one") == 0
    before = (command.where / "one" / "status.json").read_bytes()
    assert command("-m", "resume=one", "steps=1", "hydra.sweep.dir=s", own=False) == 1
    assert (command.where / "one" / "status.json").read_bytes() == before
    assert command.status("s/0")["status"] == "failed"
