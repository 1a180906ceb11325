"""A table of examples for the start of a run: tokens as the model sees them."""

from __future__ import annotations

from itertools import groupby

from rich.box import HORIZONTALS
from rich.table import Table
from rich.text import Text

from chord.data.base import Data
from chord.data.batch import Pair, Problem
from chord.io.reading import printable

COUNTS = "green"
"""The colour of tokens that are trained on."""


def preview(data: Data, seed: int, count: int) -> Table:
    """The first `count` expert demonstrations of a run, or RL problems if there is no expert.

    Prompts are shown as tokens, with special ones by name, not as the original text. In expert
    responses, the tokens that count in the loss are in colour and the others dim.
    """
    table = Table(
        title=f"data.preview={count}: of the expert's answers what is in colour is imitated",
        title_justify="left",
        title_style="bold",
        box=HORIZONTALS,
        show_lines=True,
        pad_edge=False,
    )
    for name in ("prompt", "tokens", "expert answer", "tokens", "right answer"):
        table.add_column(name, overflow="fold", justify="right" if name == "tokens" else "left")
    if len(data.expert_pairs):
        for pair in data.pairs(0, seed, count):
            _add(table, data, pair.problem, pair)
    else:
        for problem in data.problems(0, seed, count):
            _add(table, data, problem, None)
    return table


def _add(table: Table, data: Data, problem: Problem, pair: Pair | None) -> None:
    tokenizer = data.tokenizer
    prompt = tokenizer.prompt(problem)
    answer, counted, length = Text("-"), 0, 0
    if pair is not None:
        ids, written = tokenizer.response(pair)
        answer, counted, length = Text(), sum(written), len(ids)
        pieces = zip(tokenizer.pieces(ids), written, strict=True)
        for counts, run in groupby(pieces, key=lambda piece: piece[1]):
            text = "".join(piece for piece, _ in run)
            answer.append(printable(text, keep="\n"), style=COUNTS if counts else "dim")
    table.add_row(
        Text(printable("".join(tokenizer.pieces(prompt)), keep="\n")),
        str(len(prompt)),
        answer,
        f"{counted} of {length}",
        Text(printable(problem.answer, keep="\n")),
    )
