"""The names of the fields of a row."""

from __future__ import annotations

from dataclasses import dataclass

from chord.errors import ConfigError


@dataclass(kw_only=True)
class Columns:
    """The names of the fields; a row need not have all of them.

    `answer` and `response` can be the same field: a worked solution that ends in its result.
    """

    problem: str = "problem"
    answer: str = "answer"
    response: str = "response"
    messages: str = "messages"
    id: str = "id"

    def __post_init__(self) -> None:
        for name, column in vars(self).items():
            same = {other for other, named in vars(self).items() if named == column}
            if not column or not (len(same) == 1 or same == {"answer", "response"}):
                raise ConfigError(
                    f"data.columns.{name}={column}: must name a field, another one than the rest; "
                    "answer and response alone may be the same"
                )
