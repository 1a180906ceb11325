"""What fits the model's context, and the lengths of texts in tokens.

A text never has more tokens than bytes, so short texts of large files need not be tokenised;
conversations always are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chord.data.batch import Problem, Tokenizer, whole_length
from chord.data.rows import Rows
from chord.data.tables import Experts, Numbers, Problems
from chord.errors import ConfigError

_SLACK = 8  # tokens that a tokenizer may put around a text of its own accord


@dataclass(frozen=True)
class Checked:
    """Some rows of a source: those that fit, and what to report about the others."""

    rows: Numbers
    fault: str


def fitting_prompts(
    tokenizer: Tokenizer, problems: Problems, rows: Numbers, most: int, why: str
) -> Checked:
    def length(row: int) -> int:
        return len(tokenizer.prompt(problems.problem(row)))

    sizes = problems.sizes[rows]
    return _checked(tokenizer, problems.rows, rows, sizes, length, most, "prompts", why)


def fitting_answers(
    tokenizer: Tokenizer, experts: Experts, rows: Numbers, most: int, why: str
) -> Checked:
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


def sift(parts: Iterable[tuple[str, Checked]], overlong: str) -> list[str]:
    """What to report about the rows of all parts that do not fit.

    Raises ConfigError if `overlong` is error, or if a part becomes empty.
    """
    faults = []
    for part, checked in parts:
        if not checked.fault:
            continue
        if overlong == "error":
            raise ConfigError(
                f"data.overlong=error: {checked.fault}; data.overlong=drop leaves them out"
            )
        if len(checked.rows) == 0 and part != "held-out answers":
            raise ConfigError(f"data.overlong=drop: nothing is left; {checked.fault}")
        faults.append(f"left out: {checked.fault}")
    return faults


def statistics(sampled: Mapping[str, Sequence[int]], totals: Sequence[int]) -> str:
    """Median, 95th percentile and maximum of sampled lengths, by what was sampled of how many."""
    parts = []
    for (name, lengths), total in zip(sampled.items(), totals, strict=True):
        if lengths:
            median, high = np.percentile(lengths, [50, 95])
            of = f" (of {len(lengths)} of {total})" if len(lengths) < total else ""
            parts.append(f"{name}{of}: median {median:.0f}, 95 % {high:.0f}, most {max(lengths)}")
    return f"tokens of {'; '.join(parts)}"
