"""What a user can mend, and how it is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MOST, NEAREST = 12, 5
"""Of more names than `MOST`, a message shows the `NEAREST`."""


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


def suggest(
    name: str, allowed: Iterable[str], elsewhere: Sequence[str] = (), *, where: str = ""
) -> str:
    """'; did you mean ...? (all names)' for an error line; `where` tells what lists many names.

    `elsewhere`: names that end in this one, which are meant if none of the allowed is near.
    """
    names = list(allowed)
    if not names and not elsewhere:
        return "; there are none"
    close = nearest(name, names)
    meant = elsewhere if close is None else [close]
    hint = f"; did you mean {' or '.join(map(repr, meant))}?" if meant else ""
    more = f"; {where}" if where and len(names) > MOST else ""
    return f"{hint} (allowed: {shortened(name, names)}{more})" if names else hint


def shortened(name: str, allowed: Sequence[str]) -> str:
    """All names that are allowed or, of more than `MOST`, those nearest to a name, and how many
    others there are."""
    if len(allowed) <= MOST:
        return ", ".join(allowed)
    near = [*difflib.get_close_matches(name, allowed, n=NEAREST, cutoff=0.3), *allowed]
    kept = list(dict.fromkeys(near))[:NEAREST]
    shown = ", ".join(each for each in allowed if each in kept)
    return f"{shown} and {len(allowed) - len(kept)} more"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that is a slip of the fingers away, or the only one that begins like that.

    >>> nearest("cosin", ["linear", "cosine"])
    'cosine'
    >>> nearest("outputs", ["trust"]) is None
    True
    """
    typed, names = name.lower().replace("-", "_"), list(names)
    near = [
        (slips, each)
        for each in names
        if (slips := _slips(typed, each.lower())) <= max(len(typed), len(each)) // 3
    ]
    if near:
        return min(near, key=lambda found: found[0])[1]
    begun = [each for each in names if len(typed) > 2 and each.startswith(typed)]
    return begun[0] if len(begun) == 1 else None


def _slips(one: str, other: str) -> int:
    """How many letters are missing, added, wrong, or exchanged with the next one."""
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


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
        names = shortened(str(value), [str(each) for each in allowed])
        raise ConfigError(f"{setting}={value}: must be one of {names}")
