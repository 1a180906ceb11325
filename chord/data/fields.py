"""From the fields of a row to problems and expert responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chord.data.batch import Problem, Turn
from chord.data.columns import Columns
from chord.data.files import Row
from chord.data.split import key_of, number_of

_EXACT = 2**53
"""From here on, floating-point numbers skip some whole numbers."""


class FieldError(ValueError):
    """What is wrong with a field of a row; the caller, which knows the row, adds where."""


@dataclass(kw_only=True)
class Fields:
    """Reads rows: `columns` names the fields, `template` turns problems into prompts."""

    columns: Columns = field(default_factory=Columns)
    template: str = "{problem}"

    def problem(self, row: Row) -> Problem:
        """The problem of a row, with its answer; raises FieldError."""
        turns = self.asked_turns(row)
        return self._made(turns, self._plain(row, self.columns.answer), row)

    def asked(self, row: Row, begin: int) -> Problem | None:
        """The problem of an expert's row, whose answer may be unknown (""); None if it has none.

        `begin`: one of `begins`. Raises FieldError.
        """
        columns = self.columns
        if not (_has(row, columns.problem) or _has(row, columns.messages)):
            return None
        answer = self._plain(row, columns.answer) if _has(row, columns.answer) else ""
        return self._made(self.asked_turns(row, begin), answer, row)

    def begins(self, row: Row) -> list[int]:
        """Where the response can begin in the messages of an expert's row.

        That is at an assistant's turn after a user's turn or, if the problem has its own field, at
        the assistant's first turn. A row without messages has one place. Raises FieldError.
        """
        columns = self.columns
        if not _has(row, columns.messages):
            return [0]
        turns = self._turns(row)
        if _has(row, columns.problem):
            return [next((i for i, turn in enumerate(turns) if turn.role == "assistant"), 0)]
        last = _asks(turns)
        if _has(row, columns.response):
            written = (Turn("assistant", self._text(row, columns.response)),)
            if turns[last:] not in ((), written):
                raise FieldError(
                    f"field {columns.messages} goes on behind the user's last turn otherwise than "
                    f"field {columns.response}, so which is the answer is not known"
                )
            return [last]
        if turns[-1].role != "assistant":
            raise FieldError(f"field {columns.messages} must end with a turn of the assistant")
        return [place for place in range(1, last + 1) if _answers(turns, place)] or [last]

    def answered(self, row: Row, begin: int) -> tuple[str, tuple[Turn, ...]]:
        """What the expert wrote: the last response, and all turns if there are several.

        `begin`: one of `begins`. Raises FieldError.
        """
        columns = self.columns
        if _has(row, columns.response):
            return self._text(row, columns.response), ()
        if not _has(row, columns.messages):
            raise FieldError(self._missing(row, f"{columns.response} or {columns.messages}"))
        behind = self._turns(row)[begin:]
        if behind[-1].role != "assistant":
            raise FieldError(f"field {columns.messages} must end with a turn of the assistant")
        return behind[-1].content, behind if len(behind) > 1 else ()

    def id(self, row: Row) -> int | None:
        """A hash of the row's id; None if it has none."""
        if not _has(row, self.columns.id):
            return None
        return number_of(self._plain(row, self.columns.id))

    def _made(self, turns: tuple[Turn, ...], answer: str, row: Row) -> Problem:
        """Apply the template to the last turn; the key is that of the text before the template."""
        key = key_of("\n".join(turn.content for turn in turns if turn.role != "system"))
        prompt = self.template.replace("{problem}", turns[-1].content)
        turns = (*turns[:-1], Turn(turns[-1].role, prompt))
        return Problem(prompt, answer, key, turns=turns if len(turns) > 1 else (), details=row)

    def asked_turns(self, row: Row, begin: int | None = None) -> tuple[Turn, ...]:
        """The turns of a row's problem, without the template: all messages before `begin`.

        By default, all up to the user's last turn. Raises FieldError.
        """
        columns = self.columns
        if _has(row, columns.problem):
            return (Turn("user", self._text(row, columns.problem)),)
        if not _has(row, columns.messages):
            raise FieldError(self._missing(row, f"{columns.problem} or {columns.messages}"))
        turns = self._turns(row)
        begin = _asks(turns) if begin is None else begin
        if begin == 0 or not (begin == len(turns) or _answers(turns, begin)):
            raise FieldError(
                f"field {columns.messages} must have a turn of the user before the assistant's"
            )
        return turns[:begin]

    def _turns(self, row: Row) -> tuple[Turn, ...]:
        name = self.columns.messages
        messages = row[name]
        if not isinstance(messages, list) or not messages:
            raise FieldError(f"field {name} is {_kind(messages)}, must be a list of messages")
        turns = []
        for number, message in enumerate(messages, start=1):
            for part in ("role", "content"):
                value = message.get(part) if isinstance(message, dict) else message
                if not isinstance(value, str) or not value:
                    raise FieldError(
                        f"field {name}: {part} of message {number} is {_kind(value)}, must be text"
                    )
            turns.append(Turn(message["role"], message["content"]))
        return tuple(turns)

    def _text(self, row: Row, name: str) -> str:
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise FieldError(f"field {name} is {_kind(value)}, must be text")
        return value

    def _plain(self, row: Row, name: str) -> str:
        """Text, or a number as it is written."""
        if name not in row:
            raise FieldError(self._missing(row, name))
        value = row[name]
        number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        if not number and (not isinstance(value, str) or not value.strip()):
            raise FieldError(f"field {name} is {_kind(value)}, must be text or a number")
        if isinstance(value, float):
            if not abs(value) < _EXACT:
                raise FieldError(
                    f"field {name} is {value}, which is not an exact number; write it as text"
                )
            value = int(value) if value.is_integer() else value
        return str(value)

    def _missing(self, row: Row, name: str) -> str:
        has = ", ".join(row) if row else "none"
        return f"field {name} is missing; there are: {has} (data.columns names fields)"


def _has(row: Row, name: str) -> bool:
    # In Parquet every row has every field.
    return row.get(name) is not None


def _asks(turns: tuple[Turn, ...]) -> int:
    """The number of turns up to the user's last."""
    return max((i for i, turn in enumerate(turns, start=1) if turn.role == "user"), default=0)


def _answers(turns: tuple[Turn, ...], place: int) -> bool:
    """Whether the turn at an index is the assistant's reply to the user."""
    return [turn.role for turn in turns[place - 1 : place + 1]] == ["user", "assistant"]


def _kind(value: Any) -> str:
    """The kind of a value, for an error message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "empty"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bytes):
        return "bytes"
    return "an object" if isinstance(value, dict) else "a number"
