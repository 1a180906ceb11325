"""What a command prints, and the exit codes that it ends with."""

from __future__ import annotations

import io
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from chord.io.reading import printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# 1 for what can't be done as it was asked for, 130 for Ctrl-C as shells have it.
ERROR, INTERRUPTED = 1, 130
FULL, OURS = "HYDRA_FULL_ERROR", "CHORD_SET_HYDRA_FULL_ERROR"


def wants_traceback() -> bool:
    """Whether the user has asked for tracebacks, with `HYDRA_FULL_ERROR=1`."""
    return os.environ.get(FULL) == "1" and OURS not in os.environ


def let_hydra_raise() -> None:
    """Have Hydra let exceptions through, without its own hint in place of their cause.

    Processes that this one starts can tell that the user hasn't asked for it.
    """
    if not wants_traceback():
        os.environ |= {FULL: "1", OURS: "1"}


def writable_streams() -> None:
    """Let streams that can't hold every character, as those of a Latin-1 terminal, replace it.

    Each line is seen at once, also in a file or a pipe, where Python would keep some back.
    """
    for stream in (sys.stdout, sys.stderr):
        # A stream that somebody has put there may be of another kind.
        if isinstance(stream, io.TextIOWrapper):
            strict = stream.errors in ("strict", "surrogateescape")
            stream.reconfigure(errors="replace" if strict else None, line_buffering=True)


def lasting_streams() -> None:
    """Let what is printed be lost where nobody can take it, as in a pipe to `head` or on a full
    disk: what a run finds is in its directory."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Those that Python has opened, and keeps; somebody else's are of another kind.
        if (
            stream is getattr(sys, f"__{name}__")
            and type(stream) is io.TextIOWrapper
            and type(stream.buffer) in (io.BufferedWriter, io.FileIO)
        ):
            setattr(sys, name, lasting(stream))


def lasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A stream to the same place that writes nothing where that can't be written."""
    with suppress(OSError):
        stream.flush()
    raw = _Lasting(stream.fileno(), "w", closefd=False)
    # With PYTHONUNBUFFERED there is no buffer.
    unbuffered = isinstance(stream.buffer, io.FileIO)
    return io.TextIOWrapper(
        cast("Any", raw) if unbuffered else io.BufferedWriter(raw),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Lasting(io.FileIO):
    def write(self, content: ReadableBuffer, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(memoryview(content))


def say(
    *texts: object, sep: str = " ", end: str = "\n", file: Any = None, flush: bool = False
) -> None:
    """`print`, which a terminal does not obey, whoever wrote the texts: see `printable`."""
    shown = (printable(str(text), keep="\n\t") for text in texts)
    print(*shown, sep=sep, end=end, file=file, flush=flush)


def tell(error: BaseException, line: str) -> None:
    """Say in one line what is wrong, below the traceback for whoever has asked for it."""
    if wants_traceback():
        say("".join(traceback.format_exception(error)), file=sys.stderr)
    say(printable(line), file=sys.stderr)
