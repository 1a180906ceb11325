"""Rows are checked before training: all of them, or a sample and the others when they are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from chord.data.batch import AT_START, Problem, Tokenizer
from chord.data.rows import Rows
from chord.data.tables import Numbers
from chord.errors import ConfigError

T = TypeVar("T")


class CheckedRows(Generic[T]):
    """Reads rows of a source, and checks each of them once: at the start, or when it is read.

    Raises ConfigError naming file and line, if `check` raises it.
    """

    def __init__(self, rows: Rows, read: Callable[[int], T], check: Callable[[T], object]) -> None:
        self.rows, self.read, self.check = rows, read, check
        self.left = np.zeros(len(rows), dtype=bool)

    def begin(self, numbers: Numbers) -> int:
        """Check at most `AT_START` of these rows, the same in every run; return how many."""
        self.left[numbers] = True
        chosen = random.Random("checks").sample(list(numbers), min(AT_START, len(numbers)))
        for row in sorted(chosen):
            self(int(row))
        return len(chosen)

    def __call__(self, row: int) -> T:
        """Read a row, and check it if it has not been checked yet."""
        found = self.read(row)
        if self.left[row]:
            try:
                self.check(found)
            except ValueError as error:
                raise ConfigError(f"{self.rows.where(row)}: {error}") from error
            self.left[row] = False
        return found


def as_written(problem: Problem, tokenizer: Tokenizer) -> Problem:
    """A problem whose known answer has the form in which the tokenizer writes it."""
    return replace(problem, answer=tokenizer.written(problem.answer))
