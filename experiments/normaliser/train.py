"""`chord.train` with a known bug put back in: each micro-batch is divided by its own tokens.

    python experiments/normaliser/train.py trainer.micro_batch=8 [GROUP=OPTION ...]

A step's rows are cut into pieces of `trainer.micro_batch` rows in the order in which they come; the
loss of a piece is its mean over its own tokens, and the loss of the step the mean over the pieces,
as gradient accumulation in several frameworks had it. A token in a piece of short answers then
counts for more than one in a piece of long answers. The package itself divides the sum over all
tokens of the step by their number, however the step is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

from chord.step.rows import ExpertRows, TokenLog


def by_own_tokens(add_gradient: Callable[..., TokenLog]) -> Callable[..., TokenLog]:
    """`add_sft_gradient` or `add_rl_gradient`, called for each piece as if it were the step."""

    def add(
        models: Any, rows: Any, *rest: Any, share: float, micro_batch: int, **options: Any
    ) -> TokenLog:
        pieces = torch.arange(rows.tokens.mask.shape[0]).split(micro_batch)
        seen = TokenLog()
        for index in pieces:
            part = add_gradient(
                models, select(rows, index), *rest, share=share / len(pieces), **options
            )
            part.loss /= len(pieces)
            for name in (field.name for field in fields(TokenLog)):
                so_far, found = getattr(seen, name), getattr(part, name)
                if name == "sums":
                    found = {key: so_far.get(key, 0.0) + value for key, value in found.items()}
                    setattr(seen, name, so_far | found)
                else:
                    setattr(seen, name, so_far + found)
        return seen

    return add


def select(rows: Any, index: torch.Tensor) -> Any:
    """Some of the rows of a step."""
    if isinstance(rows, ExpertRows):
        return ExpertRows(tokens=rows.tokens.select(index), signal=rows.signal[index])
    return rows.select(index)


def main() -> None:
    """Patch the bug in, then train with the settings on the command line."""
    from chord import train
    from chord.step import module

    for name in ("add_sft_gradient", "add_rl_gradient"):
        setattr(module, name, by_own_tokens(getattr(module, name)))
    train.main()


if __name__ == "__main__":
    main()
