"""The lengths that a run has had: one that was lengthened had another course of alpha."""

from __future__ import annotations

from collections.abc import Sequence

Lengths = list[list[int]]
"""[first step, length of the run from that step on], in the order of the steps."""


def lengthened(lengths: Sequence[Sequence[int]], completed: int, steps: int) -> Lengths:
    """The lengths of a run that goes on after `completed` steps, as one of `steps`.

    A length under which no step was taken is forgotten. Of a run of 24 steps that was made one of
    36 after them: [[0, 24], [24, 36]]; killed at step 30 and resumed from 28: the same.
    """
    kept = [list(each) for each in lengths if each[0] < completed]
    if not kept:
        return [[0, steps]]
    return kept if kept[-1][1] == steps else [*kept, [completed, steps]]


def length_text(lengths: Sequence[Sequence[int]]) -> str | None:
    """`24, from step 24 on 36`; None for a run that has had one length alone.

    Raises ValueError or TypeError for what is no list of lengths.
    """
    (_, length), *later = [(int(first), int(length)) for first, length in lengths]
    if not later:
        return None
    return ", ".join([str(length), *(f"from step {first} on {steps}" for first, steps in later)])
