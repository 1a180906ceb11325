r"""The box that holds an answer: `\boxed{...}`, as solutions of competition problems write it."""

from __future__ import annotations

import re
from typing import NamedTuple

MARKS = (r"\boxed", r"\fbox")
"""How boxes begin. The second counts only where a text has none of the first, as in MATH."""
_OPEN = re.compile(r"\\[a-z]{4,5}\s{0,9}\{")
# Without braces TeX would put a single digit into it; MATH's solutions mean the number.
_NUMBER = re.compile(r"\\[a-z]{4,5}\s{0,9}(-?\d{1,40}(?:[.,/]\d{1,40}){0,9})")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # or a backslash, with what it escapes


class Box(NamedTuple):
    """A box in a text: where its mark begins, where its content does, and where it ends.

    `closed`: whether its braces match; otherwise the content goes on to the end of the text.
    """

    begin: int
    start: int
    end: int
    text: str
    closed: bool


def last_box(text: str) -> Box | None:
    r"""The last box of a text; None if it has none. Escaped braces are no braces.

    >>> last_box(r"So $\boxed{\left\{ 1, \frac{1}{2} \right.}$.").text
    '\\left\\{ 1, \\frac{1}{2} \\right.'
    >>> last_box(r"\fbox{3}").text, last_box(r"$\boxed 12$").text
    ('3', '12')
    """
    for mark in MARKS:
        place = text.rfind(mark)
        while place >= 0:
            if (found := _box(text, place)) is not None:
                return found
            place = text.rfind(mark, 0, place)
    return None


def _box(text: str, begin: int) -> Box | None:
    """The box whose mark begins there; None if what follows is none."""
    if number := _NUMBER.match(text, begin):
        return Box(begin, number.start(1), number.end(), number[1], closed=True)
    opened = _OPEN.match(text, begin)
    if opened is None:
        return None
    start, depth = opened.end(), 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            content = text[start : brace.start()].strip()
            return Box(begin, start, brace.end(), content, closed=True)
    return Box(begin, start, len(text), text[start:].strip(), closed=False)
