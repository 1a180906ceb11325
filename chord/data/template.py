"""The prompt of a problem: a text with fields in braces, such as `{problem}`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any

from chord.data.nested import value_of
from chord.data.rows import Row
from chord.data.turns import FieldError, kind

PROBLEM = "problem"
_FIELD = re.compile(r"\{(\{)?([^\W\d][\w.-]*)\}(?(1)\})")


@cache
def fields_in(template: str) -> tuple[str, ...]:
    """The fields that a template names, each once.

    >>> fields_in("{context} {problem} as \\\\boxed{{answer}}")
    ('context', 'problem')
    """
    return tuple(dict.fromkeys(name for quoted, name in _FIELD.findall(template) if not quoted))


def filled(template: str, problem: str, values: dict[str, str]) -> str:
    """The template with its fields; `{{name}}` stands for the text `{name}`."""
    if template == f"{{{PROBLEM}}}":
        return problem

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:-1]
        return problem if match[2] == PROBLEM else values[match[2]]

    return _FIELD.sub(put, template)


def values_of(template: str, row: Row) -> dict[str, str]:
    """The text of each field besides `{problem}`; raises FieldError for one that a row lacks."""
    found = {}
    for name in fields_in(template):
        if name != PROBLEM:
            found[name] = _text(name, value_of(row, name), row)
    return found


def _text(name: str, value: Any, row: Row) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    if value is None and name not in row:
        there = ", ".join(row) or "none"
        raise FieldError(
            f"data.prompt_template names a field {name}, which is missing; there are: {there} "
            f"({{{{{name}}}}} stands for the text itself)"
        )
    raise FieldError(
        f"field {name} of data.prompt_template is {kind(value)}, must be text or a number"
    )
