"""What fits the model's context.

A text never has more tokens than bytes, so short texts of large files need not be tokenised;
conversations always are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from chord.data.batch import Problem, Tokenizer
from chord.data.rows import Rows
from chord.data.tables import Numbers
from chord.errors import ConfigError

_SLACK = 8  # tokens that a tokenizer may put around a text of its own accord


def tokens_around(tokenizer: Tokenizer) -> int:
    """How many tokens a prompt may have beyond those of its text."""
    return len(tokenizer.prompt(Problem("1", "", 0))) + _SLACK


@dataclass(frozen=True)
class Checked:
    """Some rows of a source: those that fit, and what to report about the others."""

    rows: Numbers
    fault: str


def fitting(
    source: Rows,
    rows: Numbers,
    sizes: Numbers,
    length: Callable[[int], int],
    *,
    most: int,
    around: int,
    what: str,
    why: str,
) -> Checked:
    """Which rows have at most so many tokens.

    `sizes`: their bytes. `around`: how many tokens may come with a text. `what` they are and `why`
    the others are left out is for the report.
    """
    lengths = {row: length(row) for row in map(int, rows[sizes + around > most])}
    long = [row for row, tokens in lengths.items() if tokens > most]
    if not long:
        return Checked(rows, "")
    first = min(long)
    return Checked(
        rows[~np.isin(rows, long)],
        f"{len(long)} of {len(rows)} {what} of {source.name} have {why.format(most)}; the first is "
        f"{source.where(first)} with {lengths[first]}",
    )


class OverlongError(ConfigError):
    """Rows that do not fit, where none may be left out; `fault` says which."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"data.overlong=error: {fault}; data.overlong=drop leaves them out")
        self.fault = fault


def sift(parts: Iterable[tuple[str, Checked]], overlong: str) -> list[str]:
    """What to report about the rows of all parts that do not fit.

    Raises OverlongError if `overlong` is error, and ConfigError if a part becomes empty.
    """
    faults = []
    for part, checked in parts:
        if not checked.fault:
            continue
        if overlong == "error":
            raise OverlongError(checked.fault)
        if len(checked.rows) == 0 and part != "held-out responses":
            raise ConfigError(f"data.overlong=drop: nothing is left; {checked.fault}")
        faults.append(f"left out: {checked.fault}")
    return faults
