"""How every command ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from chord.distributed.launch import first
from chord.io.printing import INTERRUPTED, say, writable_streams


@contextmanager
def ending(command: str = "train") -> Iterator[None]:
    """The one way in which every command ends; the block is all that it does.

    A user's mistake (`chord.config.messages.EXPECTED`) is one line that begins with `error: `,
    with exit code 1. Ctrl-C is one word, with exit code 130. Everything else is a defect of ours
    and keeps its traceback. `command`: whose groups are suggested for a wrong name.
    """
    writable_streams()
    try:
        yield
    except KeyboardInterrupt:
        # Once more, while Python and its libraries close, ends it without a word.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if first():
            say("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        # It imports Hydra, which takes time, and most commands do without.
        from chord.config.messages import EXPECTED, stop

        if not isinstance(error, EXPECTED):
            raise
        stop(error, command)
