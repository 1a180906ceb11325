"""The pre-training data: a mixture of the skills, one document per row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from chord.data.batch import TokenBatch, collate
from chord.data.tasks import ALPHABET, TARGET, draw_from, worked
from chord.data.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer(ALPHABET)
WORKED = "worked"
"""The kind of documents that work out a target problem; other kinds are named after their skill."""

# A batch is cut by length (characters of prompt and response), so that short rows have no padding.
_CUTS = (12, 17)
_MIN_ROWS = 8


class Document(NamedTuple):
    """A problem and the response to learn, with the kind of the document."""

    kind: str
    prompt: str
    response: str

    @property
    def size(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Shares of the kinds of documents.

    `direct` and `worked` are shares of all documents: target problems answered directly, and worked
    out. The skills share the rest in proportion to their numbers.
    """

    direct: float
    worked: float
    addition: float = 0.35
    subtraction: float = 0.15
    short: float = 0.30
    reverse: float = 0.10
    sort: float = 0.10

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each kind; they sum to 1."""
        skills = ("addition", "subtraction", "short", "reverse", "sort")
        rest = (1 - self.direct - self.worked) / sum(getattr(self, skill) for skill in skills)
        shares = {TARGET: self.direct, WORKED: self.worked}
        return shares | {skill: rest * getattr(self, skill) for skill in skills}

    def documents(self, part: str, n: int, rng: random.Random) -> list[Document]:
        """Return `n` random documents on problems from one part of the split."""
        kinds = rng.choices(list(self.shares), list(self.shares.values()), k=n)
        return [_document(kind, part, rng) for kind in kinds]


def _document(kind: str, part: str, rng: random.Random) -> Document:
    problem = draw_from(part, TARGET if kind == WORKED else kind, rng)
    return Document(kind, problem.prompt, worked(problem) if kind == WORKED else problem.answer)


def tokens_of(documents: Sequence[Document]) -> TokenBatch:
    """Return the documents as a right-padded batch, each with its end token."""
    return collate(
        [TOKENIZER.encode(document.prompt) for document in documents],
        [[*TOKENIZER.encode(document.response), TOKENIZER.eos_id] for document in documents],
        pad_id=TOKENIZER.pad_id,
    )


def buckets(documents: Sequence[Document]) -> list[list[Document]]:
    """Cut a batch into pieces of similar length; a piece that is too small joins the next one."""
    pieces: list[list[Document]] = [[]]
    for low, high in zip((0, *_CUTS), (*_CUTS, 10**9), strict=True):
        pieces[-1] += [document for document in documents if low < document.size <= high]
        if len(pieces[-1]) >= _MIN_ROWS:
            pieces.append([])
    return [piece for piece in pieces if piece]
