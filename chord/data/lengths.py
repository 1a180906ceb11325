"""What fits the model's context, and the lengths of texts in tokens.

A text never has more tokens than bytes, so short texts of large files need not be tokenised;
conversations always are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chord.data.batch import Problem, Tokenizer, whole_length
from chord.data.files import Rows
from chord.data.tables import Experts, Numbers, Problems
from chord.errors import ConfigError

_SLACK = 8  # tokens that a tokenizer may put around a text of its own accord


@dataclass(frozen=True)
class Checked:
    """Some rows of a source: those that fit, and what to report about the others."""

    rows: Numbers
    fault: str


def _prompts(
    tokenizer: Tokenizer, problems: Problems, rows: Numbers, most: int, why: str
) -> Checked:
    def length(row: int) -> int:
        return len(tokenizer.prompt(problems.problem(row)))

    sizes = problems.sizes[rows]
    return _checked(tokenizer, problems.rows, rows, sizes, length, most, "prompts", why)


def _answers(tokenizer: Tokenizer, experts: Experts, rows: Numbers, most: int, why: str) -> Checked:
    def length(row: int) -> int:
        return whole_length(tokenizer, experts.pair(row))

    sizes = experts.whole_sizes[rows]
    return _checked(tokenizer, experts.rows, rows, sizes, length, most, "expert answers", why)


def _checked(
    tokenizer: Tokenizer,
    source: Rows,
    rows: Numbers,
    sizes: Numbers,
    length: Callable[[int], int],
    most: int,
    what: str,
    why: str,
) -> Checked:
    around = len(tokenizer.prompt(Problem("1", "", 0))) + _SLACK
    lengths = {}
    for row in map(int, rows[sizes + around > most]):
        try:
            lengths[row] = length(row)
        except ValueError as error:
            raise ConfigError(f"{source.where(row)}: {error}") from error
    long = [row for row, tokens in lengths.items() if tokens > most]
    if not long:
        return Checked(rows, "")
    first = min(long)
    return Checked(
        rows[~np.isin(rows, long)],
        f"{len(long)} of {len(rows)} {what} of {source.name} have {why.format(most)}; the first is "
        f"{source.where(first)} with {lengths[first]}",
    )
