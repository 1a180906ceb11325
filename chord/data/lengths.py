"""What fits the model's context, and how long texts are, in tokens.

A tokenizer makes no more tokens of a text than it has bytes, so that short texts of large files are
never tokenised; conversations are, all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chord.data.base import SPLITS, Room
from chord.data.batch import Problem, Tokenizer, whole_length
from chord.data.files import Rows
from chord.data.tables import Experts, Numbers, Problems

if TYPE_CHECKING:
    from chord.data.corpus import Corpus

SAMPLE = 1000
"""How many texts the statistics are of."""
_SLACK = 8  # tokens that a tokenizer may put around a text of its own accord


@dataclass(frozen=True)
class Checked:
    """Some rows of a source: which fit, and what is to be said of the others."""

    rows: Numbers
    fault: str


def sift(corpus: Corpus, room: Room) -> list[str]:
    """Take what does not fit out of a corpus, and say so; its parts are narrowed in place.

    Raises ValueError with `data.overlong=error`, or where nothing is left of a part.
    """
    faults = []
    for part, checked in _checks(corpus, room):
        if not checked.fault:
            continue
        if corpus.config.overlong == "error":
            raise ValueError(
                f"data.overlong=error: {checked.fault}; data.overlong=drop leaves them out"
            )
        if len(checked.rows) == 0 and part != "held-out answers":
            raise ValueError(f"data.overlong=drop: nothing is left; {checked.fault}")
        faults.append(f"left out: {checked.fault}")
    return faults


def _checks(corpus: Corpus, room: Room) -> Iterator[tuple[str, Checked]]:
    """Each part of a corpus, narrowed to what fits; expert answers first, problems may need one."""
    tokenizer, context = corpus.tokenizer, f"the model's context of {room.context}"
    whole = "more than {} tokens with their prompts, the model's context"
    if (experts := corpus.experts) is not None:
        for part in ("train", *SPLITS):
            rows = corpus.expert_pairs.rows if part == "train" else corpus.answers[part]
            checked = _answers(tokenizer, experts, rows, room.context, whole)
            corpus.narrow_answers(part, checked.rows)
            yield ("answers" if part == "train" else "held-out answers"), checked
    for part in ("train", *SPLITS):
        name, length = ("evaluation", room.evaluation) if part in SPLITS else (
            "rollout", room.rollout
        )  # fmt: skip
        problems, rows = (
            corpus.held_out_rows[part] if part in SPLITS else (corpus.problem_rows, corpus.rl)
        )
        why = f"more than {{}} tokens, {context} less {name}.max_new_tokens={length}"
        checked = _prompts(tokenizer, problems, rows, room.context - length, why)
        corpus.narrow_problems(part, checked.rows)
        yield "prompts", checked


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
            raise ValueError(f"{source.where(row)}: {error}") from error
    long = [row for row, tokens in lengths.items() if tokens > most]
    if not long:
        return Checked(rows, "")
    first = min(long)
    return Checked(
        rows[~np.isin(rows, long)],
        f"{len(long)} of {len(rows)} {what} of {source.name} have {why.format(most)}; the first is "
        f"{source.where(first)} with {lengths[first]}",
    )


def statistics(corpus: Corpus) -> str:
    """Median, 95 % and most tokens of training prompts and expert answers, of a sample of them."""
    tokenizer, parts = corpus.tokenizer, []
    # Rows are in the order of a hash: the first are a random sample.
    rows = corpus.rl[:SAMPLE]
    prompts = [len(tokenizer.prompt(corpus.problem_rows.problem(int(row)))) for row in rows]
    answers = [len(tokenizer.response(pair)[0]) for pair in corpus.expert_pairs[:SAMPLE]]
    totals = (len(corpus.rl), len(corpus.expert_pairs))
    for name, lengths, total in zip(
        ("prompts", "expert answers"), (prompts, answers), totals, strict=True
    ):
        if lengths:
            median, high = np.percentile(lengths, [50, 95])
            of = f" (of {len(lengths)} of {total})" if len(lengths) < total else ""
            parts.append(f"{name}{of}: median {median:.0f}, 95 % {high:.0f}, most {max(lengths)}")
    return f"tokens of {'; '.join(parts)}"
