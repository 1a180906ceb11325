"""Small files of problems and expert responses: sums that any tokenizer of ASCII can write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from chord.data.batch import Pair, Problem
from chord.data.corpus import Corpus
from chord.data.jsonl import FilesConfig
from chord.data.tokenizer import CharTokenizer


class Spoken(CharTokenizer):
    """Writes the turns of a conversation one behind the other."""

    def prompt(self, problem: Problem) -> list[int]:
        return self.encode("".join(turn.content for turn in problem.turns) or problem.prompt)

    def response(self, pair: Pair) -> tuple[list[int], list[bool]]:
        return super().response(replace(pair, turns=()))


TOKENIZER = Spoken("".join(chr(code) for code in range(32, 127)) + "\n")
Row = dict[str, Any]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def sums(count: int, start: int = 0) -> list[Row]:
    """`7+7?` and its kind, with answers and ids."""
    return [{"id": n, "problem": f"{n}+{n}?", "answer": 2 * n} for n in range(start, start + count)]


def worked(rows: list[Row]) -> list[Row]:
    """An expert's response to each."""
    return [
        {"problem": row["problem"], "response": f"{row['id']}+{row['id']}={row['answer']}"}
        for row in rows
    ]


def corpus(problems: Path, expert: Path | None = None, **settings: Any) -> Corpus:
    config = FilesConfig(
        problems=str(problems), expert=None if expert is None else str(expert), **settings
    )
    return config.build(TOKENIZER)


def refusal(call: Callable[[], object]) -> str:
    """The one line of a ValueError that a call raises."""
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
