"""What a response earns: a verifier's score, and what is added to it."""

from __future__ import annotations

from chord.rewards.auto import Auto
from chord.rewards.base import FAILURES, Failure, Grade, Grader, Reward, count_failures
from chord.rewards.exact import Verifier, final_answer, is_well_formed
from chord.rewards.expressions import Math
from chord.rewards.format import Format
from chord.rewards.function import Function
from chord.rewards.isolated import Isolated
from chord.rewards.length import Length
from chord.rewards.numeric import Numeric
from chord.rewards.reasoning import ReasoningGym
from chord.rewards.text import Text
from chord.rewards.weighted import Weighted

__all__ = [
    "FAILURES",
    "Auto",
    "Failure",
    "Format",
    "Function",
    "Grade",
    "Grader",
    "Isolated",
    "Length",
    "Math",
    "Numeric",
    "ReasoningGym",
    "Reward",
    "Text",
    "Verifier",
    "Weighted",
    "count_failures",
    "final_answer",
    "is_well_formed",
]
