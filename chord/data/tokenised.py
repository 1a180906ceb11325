"""The rows of text data as tokens, each made once while a run starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from chord.data.batch import Pair, Problem, Tokenizer
from chord.data.checking import CheckedRows, as_written
from chord.data.lengths import Checked, fitting, tokens_around
from chord.data.tables import UNKNOWN, Experts, Lazy, Numbers, Problems

LONGEST = 200
"""The number of plain texts, those with the most bytes, that are tokenised to find the longest."""

Part = tuple[Problems, Numbers]
"""Some problems of a table."""


class Tokenised:
    """Problems and expert responses by row, and their lengths in tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        problems: Problems,
        experts: Experts | None,
        held_out: Sequence[Problems],
    ) -> None:
        self.tokenizer, self.problems, self.experts = tokenizer, problems, experts
        self._asked = {
            id(table): CheckedRows(table.rows, partial(self._problem, table), tokenizer.prompt, len)
            for table in (problems, *held_out)
        }
        self._answered = None
        if experts is not None:
            self._answered = CheckedRows(
                experts.rows, self._pair, tokenizer.response, lambda tokens: len(tokens[0])
            )
        self.checked = ""
        """Which rows were checked at the start, in a sentence."""

    def prompts(self, table: Problems) -> CheckedRows[Problem, list[int]]:
        """The problems of a table."""
        return self._asked[id(table)]

    @property
    def answers(self) -> CheckedRows[Pair, tuple[list[int], list[bool]]]:
        """The expert demonstrations."""
        assert self._answered is not None, "there is no expert"
        return self._answered

    def pairs(self, rows: Numbers) -> Lazy[Pair]:
        """The expert demonstrations in these rows, none without an expert."""
        assert self._answered is not None or not len(rows), "there is no expert"
        return Lazy(rows, self._answered or _no_pair)

    def whole_length(self, row: int) -> int:
        """Length of an expert response with its prompt."""
        assert self.experts is not None, "there is no expert"
        at = int(self.experts.at[row])
        if at >= 0:
            return self.answers.length(row) + self.prompts(self.problems).length(at)
        return self.answers.length(row) + len(self.tokenizer.prompt(self._pair(row).problem))

    def read(self, rows: Numbers) -> Iterator[tuple[Pair, list[int], list[bool]]]:
        """The sample of expert demonstrations that is looked at at the start, with its tokens."""
        if self._answered is not None:
            for row in map(int, self._answered.sample(rows)):
                pair, (ids, written) = self._answered.tokenised(row)
                yield pair, ids, written

    def begin(self, parts: Sequence[Part], pairs: Numbers) -> None:
        """Check the tokens of all rows, or of a sample and the others later.

        Raises ConfigError naming file and line if a row can't be written in tokens, or if an
        expert's response can't be read back from them.
        """
        if self.checked:
            return
        counts = {"prompts": (0, 0), "expert responses": (0, 0)}
        for table in {id(table): table for table, _ in parts}.values():
            used = np.concatenate([rows for other, rows in parts if other is table])
            done, total = counts["prompts"]
            counts["prompts"] = (done + self.prompts(table).begin(used), total + len(used))
        if self._answered is not None:
            counts["expert responses"] = (self._answered.begin(pairs), len(pairs))
        said = [
            f"all {total} {name}" if done == total else f"{done} of {total} {name}"
            for name, (done, total) in counts.items()
            if total
        ]
        later = any(done < total for done, total in counts.values())
        when = "; the others are checked when they are drawn" if later else ""
        self.checked = f"tokens checked of {' and '.join(said)}{when}"

    def longest_prompt(self, parts: Sequence[Part]) -> int:
        """Length of the longest prompt: of conversations and the largest texts."""
        found = [0]
        for table, rows in parts:
            found += map(self.prompts(table).length, _largest(rows, table.sizes[rows]))
        return max(found)

    def longest_pair(self, rows: Numbers) -> int:
        """Length of the longest expert response with its prompt, found in the same way."""
        if self.experts is None:
            return 0
        largest = _largest(rows, self.experts.whole_sizes[rows])
        return max(map(self.whole_length, largest), default=0)

    def fitting_prompts(self, part: Part, most: int, why: str) -> Checked:
        """Which problems have prompts of at most so many tokens; `why` the others don't fit."""
        table, rows = part
        return fitting(
            table.rows,
            rows,
            table.sizes[rows],
            self.prompts(table).length,
            most=most,
            around=tokens_around(self.tokenizer),
            what="prompts",
            why=why,
        )

    def fitting_answers(self, rows: Numbers, most: int, why: str) -> Checked:
        """Which expert responses have at most so many tokens with their prompts."""
        assert self.experts is not None, "there is no expert"
        return fitting(
            self.experts.rows,
            rows,
            self.experts.whole_sizes[rows],
            self.whole_length,
            most=most,
            around=tokens_around(self.tokenizer),
            what="expert responses",
            why=why,
        )

    def _pair(self, row: int) -> Pair:
        assert self.experts is not None, "there is no expert"
        pair = self.experts.pair(row)
        return replace(pair, problem=as_written(pair.problem, self.tokenizer))

    def _problem(self, table: Problems, row: int) -> Problem:
        return as_written(table.problem(row), self.tokenizer)


def _largest(rows: Numbers, sizes: Numbers) -> list[int]:
    """The rows that are tokenised to find the longest: all conversations, whose size is not known
    beforehand, and those of the other rows with the most text."""
    count = LONGEST + int((sizes >= UNKNOWN).sum())
    return [int(row) for row in rows[np.argsort(-sizes, kind="stable")][:count]]


def _no_pair(row: int) -> Pair:
    raise AssertionError("there is no expert")
