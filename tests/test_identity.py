"""Which run is this? What makes a run another one, for comparisons, sweeps and a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweeps import Command, command

from chord.compare.finding import find_runs
from chord.compare.grouping import compare
from chord.compare.model import Comparison
from chord.compare.reading import read_runs
from chord.identity.lengths import length_text, lengthened

__all__ = ["command"]


def compared(path: Path) -> Comparison:
    """The comparison of all runs under a directory."""
    runs, left_out = read_runs(find_runs([path]).runs)
    return compare(runs, left_out)


def alphas(path: Path) -> list[float]:
    rows = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["alpha"] for row in rows]


def test_the_lengths_of_a_run_are_those_under_which_it_took_steps() -> None:
    fresh = lengthened([], 0, 24)
    assert (fresh, length_text(fresh)) == ([[0, 24]], None)
    longer = lengthened(fresh, 24, 36)
    assert (longer, length_text(longer)) == ([[0, 24], [24, 36]], "24, from step 24 on 36")
    # Killed at step 30 and resumed from 28, it goes on as it was.
    assert lengthened(longer, 28, 36) == longer
    # Killed before its first step of 36: it never had that length.
    assert lengthened(longer, 24, 48) == [[0, 24], [24, 48]]
    assert lengthened(longer, 24, 24) == [[0, 24]]
    # Without a checkpoint nothing of it is left.
    assert lengthened(longer, 0, 36) == [[0, 36]]


def test_a_run_that_was_lengthened_is_another_than_a_fresh_one(command: Command) -> None:
    typed = ["schedule=linear", "schedule.initial=1", "schedule.final=0"]
    outputs = command.where / "outputs"
    assert command(*typed, "steps=2", "hydra.run.dir=outputs/long") == 0
    assert command("resume=outputs/long", "steps=3", own=False) == 0, command.err
    fresh = ["-m", *typed, "steps=3", "skip_finished=true"]
    assert command(*fresh, "hydra.sweep.dir=outputs/s") == 0, command.err
    assert "not run" not in command.out
    # 1 - t / T: two steps of two, then the last of three; and all of three.
    assert alphas(outputs / "long") == pytest.approx([1, 1 / 2, 1 / 3], abs=1e-12)
    assert alphas(outputs / "s/0") == pytest.approx([1, 2 / 3, 1 / 3], abs=1e-12)
    found = compared(outputs)
    assert [group.varied.get("lengths") for group in found.groups] == ["2, from step 2 on 3", None]
    assert not found.left_out
    # An equal one is found all the same, and the long one stays what it is in its own place.
    assert command(*fresh, "hydra.sweep.dir=outputs/t") == 0
    assert "not run: equal to outputs/s/0" in command.out
    status = command.status("outputs/long")
    assert command("resume=outputs/long", own=False) == 0
    assert command.status("outputs/long") == status
