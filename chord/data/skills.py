"""A retained skill, which is measured besides the target task to show forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chord.data.batch import Problem
from chord.data.grading import Scorer


@dataclass(frozen=True)
class Skill:
    """Problems of `validation` and `test`, and the verifier of their answers."""

    name: str
    problems: Mapping[str, Sequence[Problem]]
    grader: Scorer
    understood: str = ""
    """The file that the problems are from and how its fields were read; empty of others."""
