"""Terminals that can't write every character: it is replaced, and the command goes through."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sweeps import Command, command, small

from chord.command_line.ending import ending
from chord.io.printing import lasting, writable_streams
from chord.show import command as show

__all__ = ["command"]

pytestmark = pytest.mark.faults

ENCODINGS = pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])


@contextmanager
def terminal(encoding: str, errors: str = "strict") -> Iterator[io.BytesIO]:
    """Standard output of this encoding; what is written to it."""
    written = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        stream = io.TextIOWrapper(written, encoding=encoding, errors=errors, write_through=True)
        patch.setattr(sys, "stdout", stream)
        yield written
        stream.detach()


@ENCODINGS
def test_a_curve_is_shown_without_its_dots(encoding: str) -> None:
    with terminal(encoding) as written:
        show.main(["schedule=linear", "steps=20"])
    text = written.getvalue().decode(encoding)
    assert "\nlinear  1.000  0.960" in text
    assert "+*******" in text


@ENCODINGS
def test_a_run_goes_through_and_leaves_its_metric(encoding: str, command: Command) -> None:
    with terminal(encoding) as written:
        assert command("hydra.run.dir='試'") == 0
    assert command.status("試")["status"] == "finished"
    text = written.getvalue().decode(encoding)
    assert "target: greedy accuracy" in text
    assert "run directory: '?'" in text


@ENCODINGS
def test_the_other_commands_replace_it_too(encoding: str) -> None:
    with terminal(encoding) as written, ending():
        print("a試b")
    assert written.getvalue() == b"a?b\n"


def test_a_stream_that_says_itself_what_it_does_is_left_alone() -> None:
    with terminal("ascii", errors="backslashreplace") as written:
        writable_streams()
        print("a試b")
    assert written.getvalue() == b"a\\u8a66b\n"


@contextmanager
def nobody(place: str) -> Iterator[int]:
    """Where nothing can be written: a pipe that nobody reads, or a full device."""
    if place == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    try:
        yield writer
    finally:
        os.close(writer)


PLACES = pytest.mark.parametrize(
    "place",
    [
        "pipe",
        pytest.param(
            "full",
            marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full"),
        ),
    ],
)


@PLACES
def test_what_nobody_can_take_is_lost(place: str) -> None:
    with nobody(place) as handle:
        broken = os.fdopen(os.dup(handle), "w", encoding="latin-1")
        stream = lasting(broken)
        assert (stream.encoding, stream.fileno()) == ("latin-1", broken.fileno())
        print("a line", file=stream, flush=True)
        stream.close()
        broken.close()


def test_a_line_is_seen_at_once_in_a_pipe() -> None:
    said = "from chord.command_line.ending import ending\nwith ending(): print('now'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"  # and it still waits
        assert process.poll() is None
        process.stdin.write("\n")


def test_what_can_be_written_is(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        print("before", file=file)
        with lasting(file) as stream:
            print("試", file=stream)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "before\n試\n"


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@PLACES
def test_a_run_goes_through_though_nobody_takes_what_it_prints(
    place: str, unbuffered: str, tmp_path: Path, small_models: Path
) -> None:
    with nobody(place) as handle:
        done = subprocess.run(
            [sys.executable, "-m", "chord.train", *small(small_models), "hydra.run.dir=r"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=handle,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert '"status": "finished"' in (tmp_path / "r" / "status.json").read_text()


@pytest.mark.parametrize("name", ["a${b", "${now:}", "${x}"])
def test_a_current_directory_that_hydra_would_resolve_is_refused(
    command: Command, name: str
) -> None:
    command.where = command.where / name
    command.where.mkdir()
    assert command() == 1
    said = f"error: hydra.runtime.cwd={command.where}: Hydra takes the ${{ in it for a reference"
    assert command.err.startswith(said)
    assert not list(command.where.iterdir())
