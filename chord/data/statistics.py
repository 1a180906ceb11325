"""How long texts are in tokens, and how many of them are longer than a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

MOST = 0.99
"""A limit is also named that would fit this share of what is longer than the configured one."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths in tokens of what was looked at: prompts, expert responses, and those with their
    prompts; and how many there are of each."""

    prompts: Sequence[int] = ()
    responses: Sequence[int] = ()
    wholes: Sequence[int] = ()
    of_prompts: int = 0
    of_responses: int = 0

    def said(self, *, limit: str, most: int, context: int | None) -> str:
        """Median, 95th percentile and maximum of each, and how many are beyond its limit, in a
        line; empty if nothing was looked at.

        `limit`: the setting of the `most` tokens that a response may have. `context`: the model's;
        None if it is not known, or has no end.
        """
        parts = [
            _part("prompts", self.prompts, self.of_prompts),
            _part("expert responses", self.responses, self.of_responses, f"{limit}={most}", most),
            _part(
                "both together",
                self.wholes,
                len(self.wholes),
                f"the model's context of {context}",
                context,
            ),
        ]
        return "; ".join(filter(None, parts))


def beyond(lengths: Sequence[int], limit: str, most: int) -> str:
    """How many of some lengths are longer than a limit, in words.

    >>> beyond([1, 2, 3, 4], "the limit of 3", 3)
    'longer than the limit of 3: 1 of 4 (25 %)'
    """
    found = sum(length > most for length in lengths)
    share = f" ({100 * found / len(lengths):.3g} %)" if found else ""
    return f"longer than {limit}: {found:,} of {len(lengths):,}{share}"


def enough(lengths: Sequence[int]) -> str:
    """Which limits would fit 99 % of some lengths and all of them, in words.

    >>> enough([*range(1, 200), 500])
    '198 would fit 99 %, 500 all'
    """
    ordered = sorted(lengths)
    most = ordered[ceil(MOST * len(ordered)) - 1]
    if most == ordered[-1]:
        return f"{most} would fit all"
    return f"{most} would fit {100 * MOST:.0f} %, {ordered[-1]} all"


def _part(
    name: str, lengths: Sequence[int], of: int, limit: str = "", most: int | None = None
) -> str:
    if not lengths:
        return ""
    median, high = np.percentile(lengths, [50, 95])
    sampled = f" (of {len(lengths)} of {of})" if len(lengths) < of else ""
    said = f"{name}{sampled}: median {median:.0f}, 95 % {high:.0f}, most {max(lengths)}"
    return said if most is None else f"{said}, {beyond(lengths, limit, most)}"
