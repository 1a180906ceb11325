"""A disk that is full, and kills while something large is written."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from faults import seeds
from safetensors.torch import load_file, save_file
from sweeps import Command, command, contents

from chord.cache_teacher import main as cache_teacher
from chord.io.writing import (
    UnwrittenError,
    gone,
    remove_partials,
    whole_directory,
    whole_file,
    write_atomically,
    write_in_place,
)
from chord.make_expert import main as make_expert
from chord.pretrain.command import main as pretrain
from chord.run.checkpoint import CHECKPOINT, read_checkpoint
from chord.run.files import read_rows
from chord.run.recorder import Recorder

__all__ = ["command"]

pytestmark = pytest.mark.faults
RUN = ["steps=5", "trainer.checkpoint_every=2", "weighting=phi"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within, the system refuses to write more than `size` bytes to a file, in the middle of it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


WRITERS = {
    "bytes": lambda path: path.write_bytes(bytes(20_000)),
    "torch": lambda path: torch.save({"x": torch.zeros(5_000)}, path.open("wb")),
    "safetensors": lambda path: save_file({"x": torch.zeros(5_000)}, path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_for_which_there_is_no_room_is_named_and_the_former_one_is_kept(
    tmp_path: Path, writer: str
) -> None:
    path = tmp_path / "large"

    def write() -> None:
        with whole_file(path) as partial:
            if writer == "torch":
                with partial.open("wb") as file:
                    torch.save({"x": torch.zeros(5_000)}, file)
            else:
                WRITERS[writer](partial)

    with largest_file(4_000), pytest.raises(UnwrittenError) as error:
        write()
    assert str(error.value) == f"{path}: can't be written (File too large); no part of it is left"
    assert not list(tmp_path.iterdir())
    write()
    before = path.read_bytes()
    with largest_file(4_000), pytest.raises(UnwrittenError) as error:
        write()
    assert str(error.value).endswith("; the former file is kept")
    assert path.read_bytes() == before
    assert [path] == list(tmp_path.iterdir())


def test_other_errors_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "x"):
        (tmp_path / "absent").read_bytes()
    with pytest.raises(RuntimeError), whole_file(tmp_path / "x"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for text in ("first", "second"):
        with whole_directory(place) as partial:
            (partial / text).write_text(text)
    assert [path.name for path in place.iterdir()] == ["second"]
    with largest_file(10), pytest.raises(UnwrittenError), whole_directory(place) as partial:
        (partial / "third").write_bytes(bytes(100))
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "second"]


def test_a_directory_that_can_not_take_its_place_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "model"
    with whole_directory(place) as partial:
        (partial / "first").touch()
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if (self / "second").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with (
        pytest.raises(UnwrittenError, match="the former file is kept"),
        whole_directory(place) as partial,
    ):
        (partial / "second").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "first"]


def test_what_is_written_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int | str] = []
    replace, fsync = os.replace, os.fsync

    def replaced(source: Path, target: Path) -> None:
        done.extend([source.stat().st_ino, "replaced"])
        replace(source, target)

    def synced(handle: int) -> None:
        done.extend([os.fstat(handle).st_ino, "synced"])
        fsync(handle)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    write_atomically(tmp_path / "x", b"1")
    inode = (tmp_path / "x").stat().st_ino
    assert done == [inode, "synced", inode, "replaced"]


def test_of_a_file_that_is_written_over_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"longer")
    write_in_place(tmp_path / "x", b"short")
    assert (tmp_path / "x").read_bytes() == b"short"


def test_a_process_of_another_user_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", denied)
    assert not gone(1)


def test_what_dead_processes_left_goes_with_the_next_write(tmp_path: Path) -> None:
    code = """
import os, sys; from pathlib import Path; from chord.io.writing import *
with whole_file(Path(sys.argv[1])) as partial:
    partial.write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)
"""
    path = tmp_path / "cache"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(path)])
        assert len(list(tmp_path.iterdir())) == 1
    # What a live process is writing stays: that is its own business.
    live = tmp_path / f".cache.{os.uname().nodename}-1.partial"
    live.touch()
    write_atomically(path, b"whole")
    assert sorted(tmp_path.iterdir()) == [live, path]
    remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_written_beside_its_place(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = command.where / "tmp"
    elsewhere.mkdir()
    seen: list[str] = []
    original = torch.save

    def save(state: Any, file: Any) -> None:
        original(state, file)
        seen.append(os.path.relpath(file.name, command.where))
        assert not list(elsewhere.iterdir())

    monkeypatch.setattr(torch, "save", save)
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    assert command("steps=1", "hydra.run.dir=r") == 0
    assert [Path(path).parent for path in seen] == [Path("r/checkpoints")]


def fill(patch: pytest.MonkeyPatch, what: str, call: int) -> None:
    """The disk is full from the so-manieth writing of something on."""
    calls: list[int] = []

    def full(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) < call:
            return original(*given, **named)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where, name = {"checkpoint": ("torch", "save"), "model": ("chord.models.storage", "save_file")}[
        what
    ]
    module = sys.modules[where]
    original = getattr(module, name)
    patch.setattr(module, name, full)


@pytest.mark.parametrize(
    ("what", "call", "file", "kept"),
    [
        ("checkpoint", 1, "checkpoints/last.ckpt", "no checkpoint yet"),
        ("checkpoint", 2, "checkpoints/last.ckpt", "the checkpoint after step 2 is kept"),
        ("model", 1, "model.safetensors", "the checkpoint after step 5 is kept"),
    ],
)
def test_a_run_that_has_no_room_says_so_and_goes_on_when_there_is(
    command: Command, monkeypatch: pytest.MonkeyPatch, what: str, call: int, file: str, kept: str
) -> None:
    import chord.models.storage  # noqa: F401

    with monkeypatch.context() as patch:
        fill(patch, what, call)
        assert command(*RUN, "hydra.run.dir=r") == 1
    path = command.where / "r"
    line = f"{path / file}: can't be written (No space left on device); {kept}: make room, and "
    assert f"error: {line}" in command.err
    status = command.status("r")
    assert (status["status"], str(status["error"]).startswith(line)) == ("failed", True)
    assert not list(path.rglob("*.partial"))
    assert command("resume=r", own=False) == 0
    assert command.status("r")["status"] == "finished"


def test_a_status_is_true_although_there_is_no_room_for_another_file(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        original = Recorder.train

        def train(self: Recorder, at: int, *rest: object) -> None:
            if at == 3:
                patch.setattr(Path, "write_bytes", full)
            original(self, at, *rest)  # type: ignore[arg-type]

        patch.setattr(Recorder, "train", train)
        fill(patch, "checkpoint", 2)
        assert command(*RUN, "hydra.run.dir=r") == 1
    assert command.status("r")["status"] == "failed"


def test_a_file_of_rows_that_can_not_be_made_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.open

    def full(path: str | Path, flags: int, *rest: int, **given: int) -> int:
        # As where a file system has no inodes left.
        if flags & os.O_CREAT and str(path).endswith("metrics.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, flags, *rest, **given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        assert command(*RUN, "hydra.run.dir=r") == 1
    line = f"{command.where / 'r' / 'metrics.jsonl'}: can't be written (No space left on device); "
    assert f"error: {line}no checkpoint yet" in command.err
    assert command("resume=r", own=False) == 0


@pytest.mark.parametrize("seed", seeds(few=2, full=40))
def test_a_disk_that_is_full_at_any_byte_leaves_a_run_that_goes_on(
    command: Command, seed: int
) -> None:
    assert command(*RUN, "hydra.run.dir=whole") == 0
    whole = command.where / "whole"
    sizes = [path.stat().st_size for path in whole.rglob("*") if path.is_file()]
    random = Random(seed)
    # Some file doesn't get its last bytes; each is as likely as another.
    limit = random.randrange(1000, random.choice([size for size in sizes if size > 1000]))
    with largest_file(limit):
        code = command(*RUN, "hydra.run.dir=cut")
    assert code == 1
    assert "File too large" in command.err
    cut = command.where / "cut"
    if not (cut / "run.json").exists():
        return
    assert command.status("cut")["status"] == "failed"
    assert not list(cut.rglob("*.partial"))
    for name in ("metrics", "timings", "evaluations", "completions"):
        lines = (cut / f"{name}.jsonl").read_bytes() if (cut / f"{name}.jsonl").exists() else b""
        assert lines.endswith(b"\n") or not lines
    if (cut / CHECKPOINT).exists():
        assert read_checkpoint(cut).completed in (2, 4, 5)
    assert command("resume=cut", own=False) == 0
    assert contents(cut) == contents(whole)
    assert len(read_rows(cut / "metrics.jsonl")) == 5
    assert load_file(cut / "model.safetensors").keys()


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (cache_teacher, ["--to", "/proc/x.safetensors"]),
        (make_expert, ["--to", "/proc/x.jsonl"]),
        (pretrain, ["--micro", "--to", "/proc/x"]),
        (pretrain, ["--micro", "--work", "/proc/x"]),
    ],
)
def test_a_place_that_can_not_be_written_is_named_before_work_starts(
    main: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(arguments)
    *_, name, place = arguments
    said = capsys.readouterr().err
    assert f"{name} {place}: can't be written (" in said
    assert said.endswith("; give another place\n")
