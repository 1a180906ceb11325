"""Signs of life: what a long phase prints, by a clock that the tests set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

from chord.io.signs import EVERY, Signs


class Clock:
    """Shows what it was set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def looked(signs: Signs, clock: Clock, until: int) -> None:
    """Look once a second, as the thread does."""
    while clock.now < until:
        clock.now += 1
        signs.look()


def test_what_takes_long_is_said_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    signs = Signs("loading", clock := Clock())
    looked(signs, clock, 14)
    assert capsys.readouterr().out == ""
    looked(signs, clock, 31)
    assert capsys.readouterr().out == "loading: 15 s so far\nloading: 30 s so far\n"


def test_however_phases_follow_each_other_a_line_comes_every_fifteen_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signs, seen = Signs("a", clock := Clock()), [0.0]
    for second in range(1, 200):
        clock.now = second
        if second % 11 == 0:
            signs.now(f"phase {second}")
        signs.look()
        if capsys.readouterr().out:
            seen.append(clock.now)
    assert max(after - before for before, after in pairwise(seen)) == EVERY == 15


def test_a_line_of_somebody_else_puts_the_next_one_off(capsys: pytest.CaptureFixture[str]) -> None:
    signs = Signs("loading", clock := Clock())
    looked(signs, clock, 14)
    signs.told()
    looked(signs, clock, 28)
    assert capsys.readouterr().out == ""
    looked(signs, clock, 29)
    assert capsys.readouterr().out == "loading: 29 s so far\n"


def test_how_far_something_is_comes_before_the_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signs = Signs("step 3 of 9", clock := Clock())
    with signs.during("base [x]"):
        signs.now("base [x]", "31 of 100 responses")
        looked(signs, clock, 15)
    looked(signs, clock, 30)
    assert capsys.readouterr().out == (
        "base [x]: 31 of 100 responses, 15 s so far\nstep 3 of 9: 30 s so far\n"
    )


def test_nothing_is_said_while_something_else_is_to_be_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signs = Signs("", clock := Clock())
    looked(signs, clock, 100)
    assert capsys.readouterr().out == ""


def test_a_thread_looks_while_the_program_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    signs, seen = Signs("loading"), threading.Event()
    monkeypatch.setattr(signs, "look", seen.set)
    with signs.shown():
        assert seen.wait(60)
        inside = threading.active_count()
    assert threading.active_count() == inside - 1


class ReachedError(Exception):
    """What takes long has begun."""


@pytest.mark.parametrize(
    ("module", "work", "arguments"),
    [
        ("cache_teacher", "cache_teacher", ["--to", "t.safetensors"]),
        ("export", "export_run", ["run", "--to", "new"]),
        ("make_expert", "_teacher", ["--to", "e.jsonl"]),
        ("plan.command", "estimate", []),
        ("replay.command", "replay", ["run"]),
    ],
)
def test_commands_show_signs_while_they_work(
    module: str, work: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[str] = []

    @contextmanager
    def show(self: Signs) -> Iterator[Signs]:
        shown.append(self.what)
        yield self

    def begin(*_: object, **__: object) -> None:
        assert all(shown)
        assert shown
        raise ReachedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Signs, "shown", show)
    monkeypatch.setattr(f"chord.{module}.{work}", begin)
    with pytest.raises(ReachedError):
        import_module(f"chord.{module}").main(arguments)
