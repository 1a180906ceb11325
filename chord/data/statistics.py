"""How long texts are in tokens, and which share of them is longer than a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths in tokens of what was looked at: prompts, expert responses, and those with their
    prompts; and how many there are of each."""

    prompts: Sequence[int] = ()
    responses: Sequence[int] = ()
    wholes: Sequence[int] = ()
    of_prompts: int = 0
    of_responses: int = 0

    def said(self, *, limit: int, context: int | None) -> str:
        """Median, 95th percentile and maximum of each, and the share beyond its limit, in a line.

        `limit`: `rollout.max_new_tokens`. `context`: the model's; None if it is not known.
        """
        parts = [
            _part("prompts", self.prompts, self.of_prompts),
            _part(
                "expert responses",
                self.responses,
                self.of_responses,
                f"rollout.max_new_tokens={limit}",
                limit,
            ),
            _part(
                "both together",
                self.wholes,
                len(self.wholes),
                f"the model's context of {context}",
                context,
            ),
        ]
        return f"tokens of {'; '.join(filter(None, parts))}"


def _part(
    name: str, lengths: Sequence[int], of: int, limit: str = "", most: int | None = None
) -> str:
    if not lengths:
        return ""
    median, high = np.percentile(lengths, [50, 95])
    sampled = f" (of {len(lengths)} of {of})" if len(lengths) < of else ""
    said = f"{name}{sampled}: median {median:.0f}, 95 % {high:.0f}, most {max(lengths)}"
    if most is None:
        return said
    beyond = sum(length > most for length in lengths) / len(lengths)
    return f"{said}, {100 * beyond:.3g} % over {limit}"
