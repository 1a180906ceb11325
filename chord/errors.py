"""What a user can mend, and how it is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ConfigError(ValueError):
    """A user's mistake, said in one line: setting, value, what is allowed.

    Every command ends in that line; any other exception is a defect and keeps its traceback.
    """


@contextmanager
def config_errors() -> Iterator[None]:
    """What the block refuses as ValueError is the user's to mend.

    For code that knows nothing of users, as the mathematics; put nothing else into the block.
    """
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def suggest(name: str, allowed: Iterable[str]) -> str:
    """'; did you mean ...? (all names)' for an error line."""
    names = list(allowed)
    if not names:
        return "; there are none"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (allowed: {', '.join(names)})"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def quoted(value: object, longest: int = 60) -> str:
    """A value in a message, in quotes if it is a text; what is cut off shows as `...`."""
    if isinstance(value, str):
        return repr(value if len(value) <= longest else f"{value[:longest]}...")
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def check_choice(setting: str, value: object, allowed: Iterable[object]) -> None:
    """Raise ConfigError for a value that is none of the allowed ones.

    `check_choice("mix", "sum", ("convex", "additive"))` says
    `mix=sum: must be one of convex, additive`.
    """
    allowed = list(allowed)
    if value not in allowed:
        raise ConfigError(f"{setting}={value}: must be one of {', '.join(map(str, allowed))}")
