"""The right answers of a row, as its field writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from chord.data.boxes import last_box
from chord.data.nested import value_of
from chord.data.rows import Row
from chord.data.turns import FieldError, inside, kind

_EXACT = 2**53
"""From here on, floating-point numbers skip some whole numbers."""


def lack(row: Row, name: str | None) -> str | None:
    """In which way a row has no answer in a field: missing, null or empty; None if it has one."""
    value = value_of(row, name)
    if value is None:
        return "null" if name in row else "missing"
    return "empty" if value == [] or (isinstance(value, str) and not value.strip()) else None


def right_answers(row: Row, name: str) -> tuple[str, ...]:
    """The answers in a field: one, or a list of which any is right; raises FieldError."""
    value = value_of(row, name)
    if isinstance(value, list) and value:
        return tuple(plain(f"{name}: element {n}", each) for n, each in enumerate(value, start=1))
    return (plain(name, value),)


def in_box(name: str, solution: str) -> str:
    """The answer in the last box of a worked solution; raises FieldError if there is none."""
    if box := boxed(solution):
        return box
    raise FieldError(
        f"field {name} has no \\boxed{{...}} with the right answer; data.columns.answer names "
        f"another field, or with {name} all of it is the answer; with null there are no answers, "
        "which SFT alone allows"
    )


def boxed(solution: str) -> str | None:
    """What the last box of a worked solution holds; None without one, or if it has no end."""
    box = last_box(solution)
    return box.text if box is not None and box.closed else None


def plain(name: str, value: Any) -> str:
    """Text, or a number as it is written."""
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not number and (not isinstance(value, str) or not value.strip()):
        raise FieldError(
            f"field {name} is {kind(value)}, must be text or a number{inside(name, value)}"
        )
    if isinstance(value, float):
        if not abs(value) < _EXACT:
            raise FieldError(
                f"field {name} is {value}, which is not an exact number; write it as text"
            )
        value = int(value) if value.is_integer() else value
    return str(value)
