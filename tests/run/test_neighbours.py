"""A run or sweep at work has its directory to itself from the moment that it claims it."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest
from holding import US, let_go, let_go_now
from hydra import compose
from sweeps import Command, command

from chord.config.composing import reading_conf
from chord.errors import ConfigError
from chord.run import lock, neighbours
from chord.run.claim import ClaimDirectory
from chord.run.lock import Hold, claim, held
from chord.run.neighbours import refuse_others
from chord.run.owner import LOCK, writer
from chord.sweep.directory import write_sweep

__all__ = ["command", "let_go"]

INSIDE = "hydra.{kind}.dir={new}: lies inside {first}, which is in use by {us}"
AROUND = "hydra.{kind}.dir={new}: {first} in it is in use by {us}"


@pytest.mark.parametrize(
    ("first", "new", "said"),
    [("x", "x/y", INSIDE), ("x", "x/a/y", INSIDE), ("x/y", "x", AROUND), ("x/a/y", "x", AROUND)],
)
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_nothing_new_begins_inside_what_is_at_work_or_around_it(
    command: Command, kind: str, first: str, new: str, said: str
) -> None:
    # The first has only claimed its directory: run.json or sweep.json come later.
    with held(command.where / first, "x"):
        before = sorted(command.where.rglob("*"))
        words = ["-m", "seed=0"] if kind == "sweep" else []
        assert command("steps=1", f"hydra.{kind}.dir={new}", *words) == 1
        place = command.where / first if said == INSIDE else first
        line = said.format(kind=kind, new=new, first=place, us=US)
        assert command.err.startswith(f"error: {line}"), command.err
        assert command.err.count("\n") == 1
        # Nothing is left of the second, except the lock in a directory that was there.
        after = {*command.where.rglob("*")}
        assert after - {*before} <= {command.where / new / LOCK}
    assert writer(command.where / new) is None


def test_a_run_named_after_the_time_is_refused_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with reading_conf():
        config = compose("train", [], return_hydra_config=True)
    with held(tmp_path / "outputs", "x"), pytest.raises(SystemExit):
        ClaimDirectory().on_run_start(config=config)
    assert f"lies inside {tmp_path}/outputs, which is in use by {US}" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_of_an_outer_and_an_inner_one_at_once_one_goes_on(tmp_path: Path) -> None:
    together = threading.Barrier(2)
    for turn in range(20):
        outer = tmp_path / str(turn)
        kept: list[Path] = []

        def take(path: Path, kept: list[Path] = kept) -> None:
            together.wait()
            try:
                claim(path, "x", check=refuse_others)
            except ConfigError:
                return
            kept.append(path)

        threads = [threading.Thread(target=take, args=[each]) for each in (outer, outer / "y")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(kept) == 1
        let_go_now()


@pytest.mark.parametrize("gives_way", [True, False])
def test_the_outer_one_waits_until_the_inner_one_has_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gives_way: bool
) -> None:
    inner = Hold(tmp_path / "x" / "y", "x", undecided=True)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        inner.release() if gives_way else inner.decide()

    monkeypatch.setattr(time, "sleep", wait)
    if gives_way:
        claim(tmp_path / "x", "x", check=refuse_others)
    else:
        with pytest.raises(ConfigError, match=rf"x/y in it is in use by {US}"):
            claim(tmp_path / "x", "x", check=refuse_others)
        inner.release()
    assert len(waited) == 1


def test_one_that_never_decides_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Hold(tmp_path / "y", "x", undecided=True)
    monkeypatch.setattr(neighbours, "_PATIENCE", 0)
    with pytest.raises(ConfigError, match="is in use by"):
        claim(tmp_path, "x", check=refuse_others)
    inner.release()


def test_who_only_looks_keeps_nobody_from_claiming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).touch()
    looks = (tmp_path / LOCK).open()
    fcntl.flock(looks, fcntl.LOCK_SH)
    monkeypatch.setattr("chord.io.locking.time.sleep", lambda _: looks.close())
    with held(tmp_path, "x"):
        assert writer(tmp_path) is not None


def test_a_lock_that_was_removed_meanwhile_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = lock.locked
    removed: list[int] = []

    def locked(handle: int) -> bool:
        if not removed:
            removed.append(1)
            (tmp_path / LOCK).unlink()
        return original(handle)

    monkeypatch.setattr(lock, "locked", locked)
    with held(tmp_path, "x"), pytest.raises(ConfigError, match="in use"), held(tmp_path, "x"):
        pass


def test_directories_that_were_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with held(tmp_path / "outputs" / "day" / "noon", "x"):
        (tmp_path / "outputs" / "kept").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["outputs", "kept"]


@pytest.mark.parametrize("at_work", [True, False])
def test_the_hint_for_a_directory_that_is_taken_works(command: Command, at_work: bool) -> None:
    assert command("-m", "steps=1", "seed=0", "hydra.sweep.dir=s") == 0
    assert command("steps=1", "hydra.run.dir=r") == 0
    if not at_work:
        assert command("-m", "steps=1", "seed=1", "hydra.sweep.dir=s") == 1
        assert "already holds a sweep; its own command continues it with resume_sweep=s" in (
            command.err
        )
        assert command("-m", "steps=1", "seed=0", "resume_sweep=s") == 0
        assert command("steps=1", "hydra.run.dir=r") == 1
        assert "already holds a run; resume=r continues it" in command.err
        assert command("resume=r", own=False) == 0
        return
    # While it is at work it can't be resumed either.
    for words, kind in (
        (["-m", "seed=1", "hydra.sweep.dir=s"], "sweep"),
        (["hydra.run.dir=r"], "run"),
    ):
        with held(command.where / kind[0], "x"):
            assert command("steps=1", *words) == 1
        assert command.err.startswith(f"error: hydra.{kind}.dir={kind[0]}: is in use by {US}")


def test_a_run_is_not_placed_around_a_sweep_that_has_no_runs_yet(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", [], "m", [])
    for path, said in ((tmp_path, f" {tmp_path}/s in it"), (tmp_path / "s", "")):
        with pytest.raises(ConfigError) as refused:
            refuse_others(path)
        assert str(refused.value).startswith(f"hydra.run.dir={path}:{said} is a sweep directory; ")
