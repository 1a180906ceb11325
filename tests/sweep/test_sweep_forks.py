"""Sweeps whose jobs are forks, and forks as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeps import Command, command

__all__ = ["command"]

KEEP = ["trainer.keep.every=1", "weighting=phi", "hydra.run.dir=outputs/source"]


def lineage(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((path / "run.json").read_text())["config"]["lineage"]
    return found


def test_each_job_of_a_sweep_forks_and_a_finished_one_is_skipped(command: Command) -> None:
    assert command(*KEEP) == 0, command.err
    outputs = command.where / "outputs"
    forks = ["-m", "fork=outputs/source", "checkpoint=1,2", "weighting.normalize=none"]
    assert command(*forks, "hydra.sweep.dir=outputs/s", own=False) == 0, command.err
    jobs = [lineage(outputs / "s" / str(number)) for number in range(2)]
    assert [job["step"] for job in jobs] == [1, 2]
    assert jobs[0]["sha256"] != jobs[1]["sha256"]
    facts = json.loads((outputs / "s" / "0" / "run.json").read_text())
    assert (facts["options"]["weighting"], facts["config"]["steps"]) == ("phi", 2)
    skip = ["skip_finished=true", "hydra.sweep.dir=outputs/t"]
    assert command(*forks, *skip, own=False) == 0, command.err
    for number in range(2):
        assert (outputs / "t" / str(number)).samefile(outputs / "s" / str(number))


def test_a_sweep_over_several_sources_and_a_single_fork(command: Command) -> None:
    for seed in (0, 1):
        place = f"hydra.run.dir=outputs/source{seed}"
        assert command(*KEEP[:-1], place, f"seed={seed}") == 0, command.err
    outputs = command.where / "outputs"
    both = ["-m", "fork=outputs/source0,outputs/source1", "checkpoint=1"]
    assert command(*both, "hydra.sweep.dir=outputs/s", own=False) == 0, command.err
    one, other = (lineage(outputs / "s" / str(number)) for number in range(2))
    assert one["fingerprint"] != other["fingerprint"]
    assert one["recipe"] == other["recipe"]
    single = ["fork=outputs/source1", "checkpoint=1", "hydra.run.dir=outputs/single"]
    assert command(*single, own=False) == 0, command.err
    assert "fork of outputs/source1 after 1 train steps" in command.out
    status = [
        json.loads((outputs / name / "status.json").read_text()) for name in ("s/1", "single")
    ]
    assert status[0]["fingerprint"] == status[1]["fingerprint"]
    assert "seed: 1" in (outputs / "single" / ".hydra" / "config.yaml").read_text()
    assert command("fork=outputs/none", own=False) == 1
    assert command.err == "error: fork=outputs/none: no such directory; give a run directory\n"


@pytest.mark.parametrize("word", ["checkpoint=1", "fresh_optimizer=true"])
def test_a_setting_of_forks_alone_leaves_no_directory_behind(command: Command, word: str) -> None:
    assert command(word) == 1
    assert command.err.startswith(f"error: {word}: is ")
    assert "fork=RUN" in command.err
    assert not (command.where / "outputs").exists()
