"""The rewards: what some responses score, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chord.rewards import (
    Auto,
    Format,
    Function,
    Grader,
    Length,
    Math,
    Numeric,
    ReasoningGym,
    Text,
    Verifier,
    Weighted,
)


class Row(NamedTuple):
    """What the tests know of a reward.

    `scored`: known answer, response, score. `needs`: what is typed beside `reward=NAME`.
    `package`: what must be installed. `details`: of a problem, by its known answer.
    """

    reward: Grader
    scored: list[tuple[str, str, float]]
    needs: str = ""
    package: str | None = None
    details: Callable[[str], Any] = lambda answer: None


def chain_sum(answer: str) -> dict[str, Any]:
    """A question of reasoning-gym, as `data=reasoning_gym` has it."""
    return {"task": "chain_sum", "entry": {"question": "?", "answer": answer, "metadata": {}}}


ROWS: dict[str, Row] = {
    # The text behind the last sign of equality, digit for digit.
    "exact": Row(Verifier(), [("42", "6*7=42", 1), ("42", "042", 0), ("42", "6*7", 0)]),
    # 1/2 is .5; a number behind "not" is not stated.
    "numeric": Row(Numeric(), [("0.5", "It is 1/2.", 1), ("5", "5 is not 6", 0)]),
    # As numbers where the known answer is one.
    "auto": Row(
        Auto(),
        [("1/2", "It is 0.5.", 1), ("Paris", "The answer is Paris.", 1), ("1 cm", "1.0 cm", 0)],
    ),
    "text": Row(Text(), [("Paris", "The answer is Paris.", 1), ("Paris", "paris", 0)]),
    "math": Row(
        Math(workers=1),
        [("1/2", r"so $\frac{2}{4}$.", 1), ("2*x + 1", "$1 + 2x$", 1), ("2*x + 1", "$2x$", 0)],
        package="math_verify",
    ),
    "reasoning_gym": Row(
        ReasoningGym(workers=1),
        [("4", "The answer is 4.", 1), ("4", "5", 0)],
        package="reasoning_gym",
        details=chain_sum,
    ),
    "format": Row(
        Format(workers=1),
        [("4", "<think>2+2</think> <answer>5</answer>", 1), ("4", "<answer>4</answer>", 0)],
    ),
    "function": Row(
        Function(function="scorers:same", workers=1),
        [("4", "4", 1), ("4", "5", 0)],
        needs="reward.function=scorers:same",
    ),
    # In characters and an end token: free up to .8 * 10, at 9 half of the way to 10.
    "length": Row(Length(hard=10), [("", "1234567", 1), ("", "12345678", 0.5), ("", "1" * 20, 0)]),
    # The score is that of one part.
    "weighted": Row(
        Weighted(
            parts={"answer": Numeric(), "brief": Length(hard=10)},
            weights={"answer": 1.0, "brief": 0.5},
            score="answer",
        ),
        [("4", "So 2 + 2 is about 4", 1), ("4", "5", 0)],
    ),
}
