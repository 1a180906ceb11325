"""Rows are checked before training: all of them, or a sample and the others when they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from chord.data.batch import Problem, Tokenizer, at_start
from chord.data.rows import Rows
from chord.data.tables import Numbers
from chord.data.tokenizer import UnknownCharacterError
from chord.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")


class CheckedRows(Generic[T, R]):
    """Reads rows of a source and makes their tokens, which checks a row.

    Each row is checked once: at the start, or when it is read. The length of what was made is kept,
    so that nothing is tokenised again to measure it.

    Raises ConfigError naming file and line, if `tokens` raises it.
    """

    def __init__(
        self,
        rows: Rows,
        read: Callable[[int], T],
        tokens: Callable[[T], R],
        size: Callable[[R], int],
    ) -> None:
        self.rows, self.read, self.tokens, self.size = rows, read, tokens, size
        self.left = np.zeros(len(rows), dtype=bool)
        self.lengths = np.full(len(rows), -1, dtype=np.int32)
        """Tokens of each row; -1 if they have not been made."""
        self.begun: Numbers = np.zeros(0, dtype=np.int64)
        """The rows that were checked at the start."""

    def sample(self, numbers: Numbers) -> Numbers:
        """At most `AT_START` of these rows, the same in every run, those that are checked first."""
        known = self.lengths[numbers] >= 0
        chosen = at_start(numbers[known])
        return np.sort(np.array([*chosen, *at_start(numbers[~known], len(chosen))], dtype=np.int64))

    def begin(self, numbers: Numbers) -> int:
        """Check the `sample` of these rows; return how many."""
        self.begun = self.sample(numbers)
        self.left[numbers] = self.lengths[numbers] < 0
        for row in map(int, self.begun):
            self.length(row)
        return len(self.begun)

    def __call__(self, row: int) -> T:
        """Read a row, and check it if it has not been checked yet."""
        return self.tokenised(row)[0] if self.left[row] else self.read(row)

    def tokenised(self, row: int) -> tuple[T, R]:
        """Read a row and make its tokens."""
        found = self.read(row)
        try:
            tokens = self.tokens(found)
        except UnknownCharacterError as error:
            raise ConfigError(
                f"{self.rows.where(row)}: {error}; model=tiny knows only the characters of the "
                "test bed; files of your own need model=hf or model=smollm2"
            ) from error
        except ValueError as error:
            raise ConfigError(f"{self.rows.where(row)}: {error}") from error
        self.lengths[row], self.left[row] = self.size(tokens), False
        return found, tokens

    def length(self, row: int) -> int:
        """The number of tokens of a row."""
        if self.lengths[row] < 0:
            self.tokenised(row)
        return int(self.lengths[row])


def as_written(problem: Problem, tokenizer: Tokenizer) -> Problem:
    """A problem whose right answers have the form in which the tokenizer writes them."""
    others = tuple(map(tokenizer.written, problem.others))
    return replace(problem, answer=tokenizer.written(problem.answer), others=others)
