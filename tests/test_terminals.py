"""Terminals that can't write every character: it is replaced, and the command goes through."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sweeps import Command, command

from chord import show
from chord.exits import readable_errors, writable_streams

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
    assert "????" in text


@ENCODINGS
def test_a_run_goes_through_and_leaves_its_metric(encoding: str, command: Command) -> None:
    with terminal(encoding) as written:
        assert command("hydra.run.dir='試'") == 0
    assert command.status("試")["status"] == "finished"
    text = written.getvalue().decode(encoding)
    assert "target: greedy pass@1" in text
    assert "run directory: '?'" in text


@ENCODINGS
def test_the_other_commands_replace_it_too(encoding: str) -> None:
    with terminal(encoding) as written, readable_errors():
        print("a試b")
    assert written.getvalue() == b"a?b\n"


def test_a_stream_that_says_itself_what_it_does_is_left_alone() -> None:
    with terminal("ascii", errors="backslashreplace") as written:
        writable_streams()
        print("a試b")
    assert written.getvalue() == b"a\\u8a66b\n"
