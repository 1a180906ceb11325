"""How a command ends that isn't Hydra's: its exit codes, and errors that fit one line."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from chord.untrusted import printable

# 1 for what can't be done as it was asked for, 130 for Ctrl-C as shells have it.
ERROR, INTERRUPTED = 1, 130


def writable_streams() -> None:
    """Let streams that can't hold every character, as those of a Latin-1 terminal, replace it."""
    for stream in (sys.stdout, sys.stderr):
        # A stream that somebody has put there may be of another kind.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


@contextmanager
def readable_errors() -> Iterator[None]:
    """End the process in one line where the block raises ValueError, OSError, or is stopped."""
    writable_streams()
    try:
        yield
    except (ValueError, OSError) as error:
        print(printable(" ".join(str(error).split())), file=sys.stderr)
        sys.exit(ERROR)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
