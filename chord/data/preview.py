"""Examples for the start of a run: tokens as the model sees them, and which are imitated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.text import Text

from chord.data.base import Data
from chord.data.batch import Pair, Problem, Tokenizer
from chord.data.grading import short
from chord.io.reading import printable

BOUNDARY = "¦"
"""Stands between two tokens."""
COUNTS = "green"
"""The colour of tokens that are trained on."""
FIRST, LAST = 150, 50
"""The tokens that are shown of a longer part."""
WIDTH = 10
"""Of the names of parts."""


def preview(
    data: Data, seed: int, count: int, *, known: Callable[[str], str] = str
) -> Iterator[Text]:
    """The first `count` expert demonstrations of a run, or RL problems if there is no expert.

    Each token is shown as its text, with special ones by name, and control characters escaped. The
    parts have names, which tell without colour what is imitated. `known` tells what of a right
    answer the reward compares.
    """
    if not len(data.expert_pairs):
        for number, problem in enumerate(data.problems(0, seed, count), start=1):
            title = f"example {number} of {count}: "
            yield example(data.tokenizer, problem, None, title=title, known=known)
        return
    for number, place in enumerate(data.drawn(0, seed, count), start=1):
        pair, where = data.expert_pairs[place], data.where(place)
        title = f"example {number} of {count}{f', {where}' if where else ''}: "
        yield example(data.tokenizer, pair.problem, pair, title=title, known=known)


def example(
    tokenizer: Tokenizer,
    problem: Problem,
    pair: Pair | None,
    *,
    title: str = "",
    known: Callable[[str], str] = str,
) -> Text:
    """A problem with the expert's response, if there is one, part by part."""
    prompt = tokenizer.prompt(problem)
    parts = [("prompt", prompt)]
    sizes = f"prompt of {len(prompt)} tokens"
    if pair is not None:
        ids, written = tokenizer.response(pair)
        parts += _parts(ids, written, tokenizer.stop_ids)
        sizes += f", response of {len(ids)} tokens, {sum(written)} of them imitated"
    answers = filter(None, (problem.answer, *problem.others))
    right = " or ".join(short(known(answer)) for answer in answers)
    shown = Text()
    shown.append(printable(f"{title}{sizes}{right and '; right answer: '}{right}"), style="bold")
    for name, tokens in parts:
        style = COUNTS if name in ("imitated", "end") else "dim" if name == "others" else ""
        lines = _shown(tokenizer, tokens).split("\n")
        for number, line in enumerate(lines):
            shown.append(f"\n  {name if number == 0 else '':<{WIDTH}}")
            shown.append(line, style=style)
    return shown


def _parts(
    ids: Sequence[int], written: Sequence[bool], stops: frozenset[int]
) -> Iterator[tuple[str, list[int]]]:
    """The tokens of a response: what is imitated, with its end apart, and others between."""
    for counts, group in groupby(zip(ids, written, strict=True), key=lambda each: each[1]):
        tokens = [token for token, _ in group]
        if not counts:
            yield "others", tokens
            continue
        *text, last = tokens
        if last not in stops:
            yield "imitated", tokens
            continue
        yield "imitated", text
        yield "end", [last]


def _shown(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The texts of tokens; a line end is shown as `\\n`, and ends the line."""
    if len(ids) <= FIRST + LAST:
        pieces = tokenizer.pieces(ids)
    else:
        left = f"[... {len(ids) - FIRST - LAST} tokens ...]"
        pieces = [*tokenizer.pieces(ids[:FIRST]), left, *tokenizer.pieces(ids[-LAST:])]
    text = BOUNDARY.join(printable(piece, keep="\n").replace("\n", "\\n\n") for piece in pieces)
    return text.removesuffix("\n")
