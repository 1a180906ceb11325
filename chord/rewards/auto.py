"""Right where a response says the known answer: as a number if that is one, else as a text."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from chord.data.batch import Problem
from chord.rewards.answers import known_answer
from chord.rewards.base import Reward
from chord.rewards.numbers import only_number
from chord.rewards.numeric import Numeric
from chord.rewards.text import Text

_LETTER = re.compile(r"[^\W\d_]")
_COMMAND = re.compile(r"\\[A-Za-z]")


@dataclass(kw_only=True)
class Auto(Reward):
    """`Numeric` for a known answer that is a number, such as 18, $18 or 1/2; `Text` for any other.

    A known answer with letters is a text: 5 apples, x = 5, 1e3.
    """

    option = "auto"

    ignore_case: bool = False
    """For texts."""

    @cached_property
    def _rules(self) -> tuple[Numeric, Text]:
        return Numeric(), Text(ignore_case=self.ignore_case)

    @cached_property
    def _seen(self) -> Counter[str]:
        return Counter()

    @cached_property
    def _latex(self) -> Counter[bool]:
        return Counter()

    def known(self, answer: str) -> str:
        return known_answer(answer)

    def by_letters(self, problem: Problem) -> bool:
        return self._of(problem).by_letters(problem)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for the same number or the same text, else 0.0."""
        return self._of(problem).score(problem, response)

    def check(self, problem: Problem) -> None:
        """Raise ConfigError where the known answer is empty."""
        rule = self._of(problem)
        rule.check(problem)
        self._seen[rule.option] += 1
        self._latex[_COMMAND.search(problem.answer) is not None] += 1

    @property
    def note(self) -> str | None:
        """How the right answers that were checked are compared."""
        latex, n = self._latex[True], self._latex.total()
        if 2 * latex > n:
            return (
                f"{latex:,} of {n:,} right answers hold LaTeX, which reward=auto compares letter "
                "for letter; reward=math compares by value"
            )
        numbers, texts = self._seen[Numeric.option], self._seen[Text.option]
        if not (numbers and texts):
            how = "numbers (numeric)" if numbers else "texts (text)"
            return f"reward=auto: all right answers are compared as {how}"
        return (
            f"reward=auto: {numbers:,} of {numbers + texts:,} right answers are compared as "
            "numbers (numeric), the others as texts (text)"
        )

    def _of(self, problem: Problem) -> Numeric | Text:
        known = known_answer(problem.answer)
        is_number = _LETTER.search(known) is None and only_number(known) is not None
        return self._rules[0] if is_number else self._rules[1]
