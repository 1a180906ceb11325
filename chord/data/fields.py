"""From the fields of a row to problems and expert responses."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice

from chord.data.answers import boxed, in_box, lack, plain, right_answers
from chord.data.batch import Problem, Turn
from chord.data.columns import Columns
from chord.data.layouts import Reading, is_there, recognised
from chord.data.nested import value_of
from chord.data.rows import Row, Rows
from chord.data.split import key_of, number_of
from chord.data.template import fields_in, filled, values_of
from chord.data.turns import (
    FieldError,
    inside,
    kind,
    pairs_of,
    refuse_media,
    refuse_tools,
    turns_of,
)
from chord.errors import ConfigError

LOOKED_AT = 1000
"""By so many rows, the first ones, it is decided which fields a source is read by."""


@dataclass(kw_only=True)
class Fields:
    """Reads rows: `columns` names the fields, `template` turns problems into prompts."""

    columns: Columns = field(default_factory=Columns)
    template: str = "{problem}"
    reading: Reading | None = None
    """How the columns were found; None: they are those of the settings."""
    answers: bool = True
    """Whether each problem must have an answer; otherwise none is read."""
    boxed: bool = False
    """Whether the answer is what the last box of its field holds."""
    worked: bool = False
    """Whether the field was recognised as one of worked solutions, which may have boxes."""

    @classmethod
    def of(
        cls,
        rows: Rows,
        columns: Columns,
        template: str,
        *,
        expert: bool = False,
        must: bool = True,
        like: Fields | None = None,
    ) -> Fields:
        """The reader of a source, by the fields of its first rows.

        `must`: problems must have answers, also where the first has none. `like`: the reader of the
        same file's problems.
        """
        looked_at = _beginning(rows)
        row = looked_at[0]
        reading = recognised(columns, looked_at, expert=expert)
        if like is not None:
            reading = reading.asking(like.reading or Reading(like.columns), row)
        answer = value_of(row, reading.columns.answer)
        worked = reading.named.get("answer") == "solution"
        return cls(
            columns=reading.columns,
            template=template,
            reading=reading if reading.layout else None,
            answers=must or answer is not None,
            boxed=reading.boxed
            or (worked and isinstance(answer, str) and boxed(answer) is not None),
            worked=worked,
        )

    def __post_init__(self) -> None:
        for name in fields_in(self.template):
            if name in (self.columns.answer, self.columns.response):
                raise ConfigError(
                    f"data.prompt_template={self.template}: {{{name}}} would show the answer; "
                    f"{{{{{name}}}}} stands for the text itself"
                )

    def understood(self, rows: Rows, there: Collection[str]) -> str:
        """Which of the fields that are `there` in a source are read, and which are not."""
        named = {
            name: column
            for name, column in vars(self.columns).items()
            if column is not None and is_there(column, there)
        }
        read = ", ".join(f"{name}={column}" for name, column in named.items())
        # Of a field within another, the outer one is read.
        used = {*named.values(), *fields_in(self.template)}
        rest = [name for name in there if not any(_is_within(each, name) for each in used)]
        unread = f"not read: {', '.join(rest)}" if rest else ""
        inside = f" in its list {rows.within}" if rows.within else ""
        return "; ".join(filter(None, [f"{rows.name}: {len(rows)} rows{inside}", read, unread]))

    def problem(self, row: Row) -> Problem:
        """The problem of a row, with its answer; raises FieldError."""
        if self.answers:
            return self._made(self.asked_turns(row), self._answers(row), row)
        return self._made(self.asked_turns(row, self._opening(row)), (), row)

    def asked(self, row: Row, begin: int) -> Problem | None:
        """The problem of an expert's row, whose answer may be unknown (""); None if it has none.

        `begin`: one of `begins`. Raises FieldError.
        """
        columns = self.columns
        if not (_has(row, columns.problem) or _has(row, columns.messages)):
            return None
        if _has(row, columns.id) and any(
            value_of(row, name) is None for name in fields_in(self.template) if name != "problem"
        ):
            return None  # the problem with that id has the fields of the template
        known = self.answers and _has(row, columns.answer) and not self._is_unboxed(row)
        return self._made(self.asked_turns(row, begin), self._answers(row) if known else (), row)

    def _is_unboxed(self, row: Row) -> bool:
        """Whether a row's answer would be in a box of its solution, and there is none."""
        solution = value_of(row, self.columns.answer)
        return self.boxed and isinstance(solution, str) and not boxed(solution)

    def _opening(self, row: Row) -> int | None:
        """Where a conversation without an answer is first replied to: all that follows is imitated.

        None where the whole problem is asked before any reply.
        """
        columns = self.columns
        if _has(row, columns.problem) or _has(row, columns.response):
            return None
        turns = self._turns(row) if _has(row, columns.messages) else ()
        return next((place for place in range(1, len(turns)) if _answers(turns, place)), None)

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
            if turns[last:] not in ((), self._written(row)):
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
            written = self._written(row)
            if columns.response == "completion" and row.get("label") is False:
                raise FieldError(
                    "field label is false: the completion is one to avoid; leave such rows out"
                )
            return written[-1].content, written if len(written) > 1 else ()
        if not _has(row, columns.messages):
            raise FieldError(self._missing(row, columns.response, columns.messages))
        behind = self._turns(row)[begin:]
        if behind[-1].role != "assistant":
            raise FieldError(f"field {columns.messages} must end with a turn of the assistant")
        return behind[-1].content, behind if len(behind) > 1 else ()

    def _source(self, row: Row) -> str:
        """Where a row's problem is from; empty if that is not known."""
        value = value_of(row, self.columns.source)
        return "" if value is None else plain(str(self.columns.source), value)

    def id(self, row: Row) -> int | None:
        """A hash of the row's id; None if it has none."""
        if not _has(row, self.columns.id):
            return None
        return number_of(plain(str(self.columns.id), value_of(row, self.columns.id)))

    def _made(self, turns: tuple[Turn, ...], answers: tuple[str, ...], row: Row) -> Problem:
        """Apply the template to the last turn.

        The key is that of the text before the template, and of what else the template puts in.
        """
        values = values_of(self.template, row)
        said = [turn.content for turn in turns if turn.role != "system"]
        prompt = filled(self.template, turns[-1].content, values)
        turns = (*turns[:-1], Turn(turns[-1].role, prompt))
        return Problem(
            prompt,
            answers[0] if answers else "",
            key_of("\n".join([*said, *values.values()])),
            turns=turns if len(turns) > 1 else (),
            details=row,
            others=answers[1:],
            source=self._source(row),
            conversational=not _has(row, self.columns.problem),
        )

    def asked_turns(self, row: Row, begin: int | None = None) -> tuple[Turn, ...]:
        """The turns of a row's problem, without the template: all messages before `begin`.

        By default, all up to the user's last turn. Raises FieldError.
        """
        columns = self.columns
        refuse_media(row)
        if _has(row, columns.problem):
            return self._question(row)
        if not _has(row, columns.messages):
            raise FieldError(self._missing(row, columns.problem, columns.messages))
        turns = self._turns(row)
        begin = _asks(turns) if begin is None else begin
        if begin == 0 or not (begin == len(turns) or _answers(turns, begin)):
            raise FieldError(
                f"field {columns.messages} must have a turn of the user before the assistant's"
            )
        return turns[:begin]

    def _turns(self, row: Row) -> tuple[Turn, ...]:
        columns = self.columns
        assert columns.messages is not None, "it has been looked at"
        refuse_tools("tools", row.get("tools"))
        turns, told = turns_of(columns.messages, value_of(row, columns.messages)), self._system(row)
        if turns[0].role != "system":
            return (*told, *turns)
        if told and told != turns[:1]:
            raise FieldError(
                f"fields {columns.messages} and {columns.system} differ in the system's turn"
            )
        return turns

    def _system(self, row: Row) -> tuple[Turn, ...]:
        """The system's turn, if there is one in a field of its own."""
        text = value_of(row, self.columns.system)
        if text is None or (isinstance(text, str) and not text.strip()):
            return ()
        return (Turn("system", self._text(row, self.columns.system)),)

    def _question(self, row: Row) -> tuple[Turn, ...]:
        """The turns of a problem that has a field of its own."""
        columns = self.columns
        text, about = self._text(row, columns.problem), value_of(row, columns.input)
        if about not in (None, ""):
            text += f"\n\n{self._text(row, columns.input)}"
        past = value_of(row, columns.history)
        earlier = pairs_of(str(columns.history), past) if past else ()
        return (*self._system(row), *earlier, Turn("user", text))

    def _written(self, row: Row) -> tuple[Turn, ...]:
        """The turns of the field that holds the response, as text or as messages."""
        name = self.columns.response
        if not isinstance(value_of(row, name), list):
            return (Turn("assistant", self._text(row, name)),)
        turns = turns_of(str(name), value_of(row, name))
        if turns[-1].role != "assistant":
            raise FieldError(f"field {name} must end with a turn of the assistant")
        return turns

    def _text(self, row: Row, name: str | None) -> str:
        value = value_of(row, name)
        if not isinstance(value, str) or not value.strip():
            raise FieldError(
                f"field {name} is {kind(value)}, must be text{inside(str(name), value)}"
            )
        return value

    def _answers(self, row: Row) -> tuple[str, ...]:
        """The right answers of a row: one, or a list of which any is right."""
        name = self.columns.answer
        if name is None or lack(row, name) == "missing":
            raise FieldError(self._missing(row, name))
        answers = right_answers(row, name)
        if not self.worked or isinstance(value_of(row, name), list):
            return answers
        if self.boxed:
            return (in_box(name, answers[0]),)
        if boxed(answers[0]) is not None:
            raise FieldError(
                f"field {name} has a \\boxed{{...}}, and that of the first row has none, so it is "
                "not known if all of it is the answer; data.columns.answer names another field"
            )
        return answers

    def no_answer(self, row: Row) -> str:
        """What to say where no answers are known."""
        return self._missing(row, self.columns.answer)

    def _missing(self, row: Row, *names: str | None) -> str:
        name = " or ".join(name for name in names if name) or "answer"
        if empty := next((each for each in names if each is not None and each in row), None):
            # A cell of a table that holds nothing, or null.
            return f"field {empty} is empty ({self.naming(row, *names)})"
        has = ", ".join(row) if row else "none"
        return f"field {name} is missing; there are: {has} ({self.naming(row, *names)})"

    def naming(self, row: Row, *names: str | None) -> str:
        """How to name the field of a column, with a field of the row that no column reads."""
        columns = vars(self.columns)
        column = next((each for each, name in columns.items() if name in names), "answer")
        free = (each for each in row if each not in columns.values() and _has(row, each))
        example = next(free, None)
        return "data.columns names fields" + (
            "" if example is None else f", as in data.columns.{column}={example}"
        )


def _beginning(rows: Rows) -> list[Row]:
    """The first rows, up to one that can't be read, which is told when its turn comes."""
    found = [rows[0]]
    with contextlib.suppress(ConfigError):
        found += islice(rows, 1, LOOKED_AT)
    return found


def _has(row: Row, name: str | None) -> bool:
    # In Parquet every row has every field.
    return value_of(row, name) is not None


def _is_within(name: str, field: str) -> bool:
    """Whether a column is a field of a row, or inside it."""
    return name == field or name.startswith(f"{field}.")


def _asks(turns: tuple[Turn, ...]) -> int:
    """The number of turns up to the user's last."""
    return max((i for i, turn in enumerate(turns, start=1) if turn.role == "user"), default=0)


def _answers(turns: tuple[Turn, ...], place: int) -> bool:
    """Whether the turn at an index is the assistant's reply to the user."""
    return [turn.role for turn in turns[place - 1 : place + 1]] == ["user", "assistant"]
