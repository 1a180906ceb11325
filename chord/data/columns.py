"""The names of the fields of a row."""

from __future__ import annotations

from dataclasses import dataclass

from chord.errors import ConfigError


@dataclass(kw_only=True)
class Columns:
    """The names of the fields; a row need not have all of them. None: nothing is read.

    `a.b` is the field b of the object a, and `a.0` the first element of the list a. `answer` and
    `response` can be the same field: a worked solution that ends in its result. `input`, `system`
    and `history` are parts of the problem, if they are named.
    """

    problem: str | None = "problem"
    answer: str | None = "answer"
    response: str | None = "response"
    messages: str | None = "messages"
    id: str | None = "id"
    input: str | None = None
    """Text that the problem is about, which is put below it."""
    system: str | None = None
    """The system's turn before the problem."""
    history: str | None = None
    """Earlier questions and answers: a list of pairs."""
    source: str | None = None
    """Where the problem is from: evaluations give a score for each source."""

    def __post_init__(self) -> None:
        names = {name: column for name, column in vars(self).items() if column is not None}
        for name, column in names.items():
            same = {other for other, named in names.items() if named == column}
            if not column.strip() or not (len(same) == 1 or same == {"answer", "response"}):
                raise ConfigError(
                    f"data.columns.{name}={column}: must name a field, another one than the rest; "
                    "answer and response alone may be the same"
                )
