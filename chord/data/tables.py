"""Indices of problems and expert responses: what is known of rows without reading them again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from chord.data.answers import lack
from chord.data.batch import Pair, Problem
from chord.data.columns import Columns
from chord.data.fields import Fields
from chord.data.layouts import is_there
from chord.data.rows import Row, Rows
from chord.data.split import number_of
from chord.data.turns import FieldError
from chord.errors import ConfigError, suggest

Numbers = NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")
_SHOWN = 3
"""So many rows without an answer are named."""
UNKNOWN = 2**31
"""The size of conversations, whose length is known only after tokenising them."""


class Lazy(Sequence[T], Generic[T]):
    """Some rows of a source, each read on access."""

    def __init__(self, rows: Numbers, read: Callable[[int], T]) -> None:
        self.rows = rows
        self.read = read

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.read(int(row)) for row in self.rows[index]]
        return self.read(int(self.rows[index]))

    def __iter__(self) -> Iterator[T]:
        return (self.read(int(row)) for row in self.rows)


class Readable:
    """The rows of a source, and the reader of their fields."""

    def __init__(self, rows: Rows, fields: Fields) -> None:
        self.rows, self.fields = rows, fields
        self.there: dict[str, None] = {}
        """The names of all fields that a row has."""

    def _located(self, index: int, read: Callable[[Row], R], row: Row) -> R:
        """The result of `read` for a row; if that fails, the error names the row.

        And the layout that was recognised by the first row, where it isn't that one.
        """
        try:
            return read(row)
        except FieldError as error:
            reading, first = self.fields.reading, ""
            if reading is not None and index > 0:
                first = f"; the first row was {reading.said(self.rows[0])}"
            raise ConfigError(f"{self.rows.where(index)}: {error}{first}") from None


class UnansweredError(ConfigError):
    """Rows lack a right answer."""


class Problems(Readable):
    """The problems of a source, each with its key, its id and the bytes of its prompt.

    Raises ConfigError naming the row and the field if one can't be read.
    """

    def __init__(self, rows: Rows, fields: Fields) -> None:
        super().__init__(rows, fields)
        keys, ids, sizes, answers = array("q"), array("q"), array("q"), array("q")
        several = array("q")
        self._lacking: list[tuple[int, str]] = []
        """The first rows without an answer, each with how it lacks one."""
        self._without = 0
        """How many rows have no answer."""
        for index, row in enumerate(rows):
            self.there.update(dict.fromkeys(row))
            if (how := lack(row, fields.columns.answer)) is not None:
                self._without += 1
                self._lacking = [*self._lacking, (index, how)][:_SHOWN]
                if fields.answers:
                    # All such rows are refused together, but for those that lack more.
                    self._located(index, fields.asked_turns, row)
                    continue
            problem = self._located(index, fields.problem, row)
            known = self._located(index, fields.id, row)
            keys.append(problem.key)
            ids.append(-1 if known is None else known)
            sizes.append(size_of(problem))
            answers.append(number_of("\0".join([problem.answer, *problem.others])))
            several.append(bool(problem.others))
        if fields.answers and self._without:
            raise self._refusal()
        self.keys, self.ids, self.sizes = (_numbers(values) for values in (keys, ids, sizes))
        self.first = np.unique(self.keys, return_index=True)[1]
        """Rows in the order of their keys; of equal keys, only the first row."""
        self.several = int(_numbers(several)[self.first].sum())
        """Problems with several right answers."""
        self.repeated = len(self.keys) - len(self.first)
        at = np.searchsorted(self.keys[self.first], self.keys)
        found = _numbers(answers)
        self.contradictions = int((found != found[self.first][at]).sum())
        """Rows whose answer differs from that of an earlier row with the same problem."""

    def _refusal(self) -> UnansweredError:
        """What is said where rows lack an answer; of a single one, what its field holds."""
        if self._without == 1:
            index, _ = self._lacking[0]
            try:
                self._located(index, self.fields.problem, self.rows[index])
            except ConfigError as error:
                return UnansweredError(str(error))
        return UnansweredError(self._lacks())

    @property
    def unanswered(self) -> str | None:
        """Why no answers are known, in a sentence; None if they are."""
        return None if self.fields.answers else self._lacks()

    @property
    def lacking(self) -> str | None:
        """What it means that no answers are read, and why; None where answers are read."""
        if self.fields.answers:
            return None
        if self.fields.columns.answer is None or self._without == len(self.rows):
            return "has no right answers, so no response is scored"
        return (
            f"{self._without} of {len(self.rows)} rows have no answer in field "
            f"{self.fields.columns.answer} (the first: {self.rows.where(self._lacking[0][0])}), so "
            "right answers are not used, and no response is scored"
        )

    def _lacks(self) -> str:
        """Which rows have no answer, and what can be done about it."""
        rows, fields = self.rows, self.fields
        name, reading = fields.columns.answer, fields.reading
        if name is None:
            return "data.columns.answer=null: reads no right answers"
        if self._without < len(rows):
            first = ", ".join(
                f"{rows.where(index).removeprefix(f'{rows.name} ')} {how}"
                for index, how in self._lacking
            )
            return (
                f"{rows.name}: {self._without} of {len(rows)} rows have no answer in field {name} "
                f"(first: {first}); take them out of the file, or use data.columns.answer=null, "
                "which reads no answers"
            )
        if name != Columns().answer and not is_there(name, self.there):
            return (
                f"data.columns.answer={name}: {rows.name} has no such field"
                f"{suggest(name, self.there)}"
            )
        if reading is not None and self._lacking[0][1] == "missing":
            return (
                f"{rows.name}: was recognised as {reading.layout}, and has no right answers; "
                "data.columns.answer names the field of them, if there is one"
            )
        return f"{rows.where(0)}: {fields.no_answer(rows[0])}"

    @property
    def counted(self) -> str:
        """The number of problems, and of rows if some repeat others."""
        found = f"{len(self.first)} problems"
        if not self.repeated:
            return found
        one = self.repeated == 1
        many = (
            "1 row repeats another and is" if one else f"{self.repeated} rows repeat others and are"
        )
        other = f", {self.contradictions} with another answer" if self.contradictions else ""
        return f"{len(self.rows)} rows, {found} ({many} left out{other})"

    def problem(self, index: int) -> Problem:
        """Read a problem."""
        return self.fields.problem(self.rows[index])

    def find(self, keys: Numbers) -> Numbers:
        """The row of each key (N,); -1 if there is none."""
        return _find(self.keys[self.first], self.first, keys)

    def by_id(self) -> tuple[Numbers, Numbers]:
        """The ids of rows, sorted, and their rows."""
        rows = np.flatnonzero(self.ids >= 0)
        rows = rows[np.argsort(self.ids[rows], kind="stable")]
        return self.ids[rows], rows

    def shared_ids(self) -> dict[int, tuple[int, int]]:
        """The ids that several problems have, each with the rows of two of these problems."""
        ids, rows = self.by_id()
        places = np.flatnonzero(ids[1:] == ids[:-1])
        found = ((int(ids[at]), (int(rows[at]), int(rows[at + 1]))) for at in places)
        return {each: two for each, two in found if self.keys[two[0]] != self.keys[two[1]]}


class Experts(Readable):
    """The expert responses of a source, each with its key and, if it exists, the problem's row.

    A response belongs to the problem with its id, or else with its text; a conversation belongs to
    the longest problem that it continues. The text alone decides where several problems have the
    id, or where the problem is one of those `held_out` by files, which may be numbered apart.
    Raises ConfigError naming the row and the field if one can't be read, or if it names no problem
    or two.
    """

    def __init__(
        self, rows: Rows, fields: Fields, problems: Problems, held_out: Collection[Problems] = ()
    ) -> None:
        super().__init__(rows, fields)
        self.problems, self.held_out = problems, held_out
        self.later = 0
        """Rows whose problem has assistant turns that would otherwise be part of the response."""
        columns = [array("q") for _ in range(6)]
        for index, row in enumerate(rows):
            self.there.update(dict.fromkeys(row))
            facts = self._located(index, self._facts, row)
            for column, fact in zip(columns, facts, strict=True):
                column.append(fact)
        self.keys, ids, asked, sizes, texts, self.begins = (_numbers(column) for column in columns)
        self.at = self._problems_of(ids)
        """(N,) the row of each response's problem; -1 if it is not among the problems."""
        self.absent = int((self.at < 0).sum())
        if rows is problems.rows and self.absent:
            raise ConfigError(
                f"{rows.where(int(np.argmin(self.at)))}: read as an expert's, the row has another "
                "problem than read as a problem's; data.columns.problem or data.columns.messages "
                "names the field of both"
            )
        self.whole_sizes = sizes + np.where(self.at >= 0, problems.sizes[self.at], asked)
        """(N,) bytes of prompt and response."""
        order = np.lexsort((np.arange(len(self.keys)), texts, self.keys))
        same = np.zeros(len(order), dtype=bool)
        pairs = np.stack([self.keys, texts])[:, order]
        same[order[1:]] = (pairs[:, 1:] == pairs[:, :-1]).all(axis=0)
        self.repeated = int(same.sum())
        rest = np.flatnonzero(~same)
        self.order = rest[np.argsort(self.keys[rest], kind="stable")]
        """Rows in the order of their keys, without duplicates."""

    def pair(self, index: int) -> Pair:
        """Read a response with its problem."""
        row, at = self.rows[index], int(self.at[index])
        begin = int(self.begins[index])
        response, turns = self.fields.answered(row, begin)
        problem = self.problems.problem(at) if at >= 0 else self.fields.asked(row, begin)
        assert problem is not None, "an answer without a problem"
        return Pair(problem, response, turns)

    def _facts(self, row: Row) -> tuple[int, int, int, int, int, int]:
        """Key (-1: by the id), id (-1: none), bytes of prompt and response, a hash of the response,
        and where the response begins in a conversation."""
        begin = self._begin(row)
        problem, known = self.fields.asked(row, begin), self.fields.id(row)
        response, turns = self.fields.answered(row, begin)
        if problem is None and known is None:
            names = self.fields.columns
            wanted = (names.problem, names.messages, names.id)
            raise FieldError(
                f"has none of the fields {', '.join(filter(None, wanted))}, so it "
                f"names no problem; there are: {', '.join(row)} "
                f"({self.fields.naming(row, names.problem)})"
            )
        size = UNKNOWN if turns else len(response.encode())
        text = "\0".join([response, *(turn.content for turn in turns)])
        key, asked = (-1, 0) if problem is None else (problem.key, size_of(problem))
        return key, -1 if known is None else known, asked, size, number_of(text), begin

    def _begin(self, row: Row) -> int:
        """Where the response begins: after the longest known problem, else at the first turn."""
        places = self.fields.begins(row)
        for place in reversed(places[1:]):
            problem = self.fields.asked(row, place)
            if problem is not None and self.problems.find(np.array([problem.key]))[0] >= 0:
                self.later += 1
                return place
        return places[0]

    def _problems_of(self, ids: Numbers) -> Numbers:
        """The problem of each response; fills in keys that are known only through the id."""
        name, problems = self.fields.columns.id, self.problems
        ids = np.where(self._told_by_text(ids), -1, ids)
        known, rows = problems.by_id() if (ids >= 0).any() else (ids[:0], ids[:0])
        by_id = np.where(ids >= 0, _find(known, rows, ids), -1)
        for index in np.flatnonzero((self.keys < 0) & (by_id < 0))[:1]:
            raise ConfigError(
                f"{self.rows.where(int(index))}: field {name} is that of no problem of "
                f"{problems.rows.name}"
            )
        named = by_id >= 0
        wrong = named & (self.keys >= 0) & (self.keys != problems.keys[by_id])
        for index in np.flatnonzero(wrong)[:1]:
            raise ConfigError(
                f"{self.rows.where(int(index))}: field {name} is that of another problem, "
                f"{problems.rows.where(int(by_id[index]))}; if the two "
                "files are numbered apart, data.columns.id=null reads no id"
            )
        self.keys = np.where(named, problems.keys[by_id], self.keys)
        return problems.find(self.keys)

    def _told_by_text(self, ids: Numbers) -> NDArray[np.bool_]:
        """Of which responses the text of the problem decides, whatever their ids are.

        Raises ConfigError if an id is that of several problems, and the text of none of them.
        """
        shared, problems = self.problems.shared_ids() if (ids >= 0).any() else {}, self.problems
        held_out = [np.isin(self.keys, table.keys) for table in self.held_out]
        told: NDArray[np.bool_] = np.any([np.zeros(len(ids), dtype=bool), *held_out], axis=0)
        ambiguous = np.isin(ids, list(shared))
        told |= ambiguous & (self.keys >= 0) & (problems.find(self.keys) >= 0)
        for index in np.flatnonzero(ambiguous & ~told)[:1]:
            one, other = shared[int(ids[index])]
            raise ConfigError(
                f"{problems.rows.where(other)}: field {problems.fields.columns.id} is also that of "
                f"another problem, {problems.rows.where(one)}, so which of them "
                f"{self.rows.where(int(index))} responds to is not known; number the problems "
                "apart, or give the responses the text of their problems"
            )
        return told


def size_of(problem: Problem) -> int:
    """Bytes of a prompt, which is at least the number of its tokens."""
    return UNKNOWN if problem.turns else len(problem.prompt.encode())


def _numbers(values: array[int]) -> Numbers:
    return np.array(values, dtype=np.int64)


def _find(ordered: Numbers, rows: Numbers, wanted: Numbers) -> Numbers:
    """For each wanted number, the row in `rows` next to it in `ordered`; -1 if it is not there."""
    if len(ordered) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.searchsorted(ordered, wanted).clip(max=len(ordered) - 1)
    return np.where(ordered[at] == wanted, rows[at], -1)
