"""How every command ends, and how it reads its arguments."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from chord.distributed.launch import first
from chord.errors import ConfigError
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


class Arguments(argparse.ArgumentParser):
    """The arguments of a command without Hydra; what can't be understood is a `ConfigError`."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(
            prog=f"python -m chord.{command}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """What argparse calls; its own would print the whole usage."""
        refuse_arguments(self.prog, message)


def refuse_arguments(program: str, message: str) -> NoReturn:
    """Raise `ConfigError` for arguments that argparse can't understand."""
    raise ConfigError(f"{message}; see {program} --help")
