"""Which part of a data set a problem belongs to, by a hash of its text."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BITS = 60


def canonical(text: str) -> str:
    """The canonical text of a problem: white space and forms of accents make no difference.

    >>> canonical(" What is\\n2+2? ")
    'What is 2+2?'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def key_of(text: str) -> int:
    """A stable 60-bit id of a problem from its canonical text, the same on every machine."""
    return number_of(canonical(text))


def number_of(text: str) -> int:
    """A stable 60-bit hash of the exact text."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _BITS)


@dataclass(frozen=True, kw_only=True)
class SplitShares:
    """Shares of the hash space: validation takes its low end, test its high end.

    A problem stays in its part if others are added, or if the share of another part changes.
    """

    validation: float
    test: float

    def within(self, part: str, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the keys (N,) are in `validation` or `test`."""
        if part == "validation":
            return keys < np.int64(self.validation * 2**_BITS)
        return keys >= np.int64((1 - self.test) * 2**_BITS)
