"""Right where a response's mathematical expression equals the answer's: math-verify."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from chord.data.batch import Problem
from chord.rewards.answers import known_answer, last_box, result_line, stated_answer
from chord.rewards.isolated import Isolated

_LATEX = re.compile(r"\$|\\[(\[]|\\boxed")
# Numbers, one-letter variables, operators and the names of functions: no prose.
_PLAIN = re.compile(
    r"(?:[\d.,+\-*/^=<>!()\[\]{}|\s%]|\\[a-zA-Z]+"
    r"|(?<![A-Za-z])(?:[A-Za-z]|sqrt|sin|cos|tan|log|ln|exp|pi|infty)(?![A-Za-z]))+"
)
# Behind a sign of equality math-verify takes 3,686 for two numbers.
_THOUSANDS = re.compile(
    r"(=\s{0,3}(?:\\?\$)?\s{0,3}-?\s{0,3})([0-9]{1,3}(?:(?:,|\{,\}|\\[,!])[0-9]{3}){1,30})(?![0-9,{])"
)


@dataclass(kw_only=True)
class Math(Isolated):
    """1 where math-verify finds the response's expression equal to the answer's, else 0.

    Both are LaTeX or plain (`1/2`, `2*x + 1`). Of a response its last box is taken, else a last
    line `#### ...`, else its stated or its last expression.
    https://github.com/huggingface/Math-Verify
    """

    def load(self) -> None:
        """Import math-verify, and let sympy's parser evaluate nothing but arithmetic."""
        if find_spec("math_verify") is None:
            raise ValueError("reward=math: needs pip install 'chord-posttraining[math]'")
        from chord.rewards.guard import guard_sympy

        guard_sympy()
        # It warns that its own time limit is off; the worker has one.
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        # Its first parse takes a second: outside the time limit.
        for text in ("$1$", "it is 1/2."):
            _parse(text)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for an equal expression, else 0.0; ValueError where the answer holds none."""
        from math_verify import verify

        gold = _gold(problem.answer)
        if not gold:
            raise ValueError(f"the answer {problem.answer!r:.60} of the problem is no expression")
        return float(bool(response) and verify(gold, _stated(response), timeout_seconds=None))


@lru_cache(maxsize=256)
def _gold(answer: str) -> Any:
    """The known answer as sympy's expressions; empty where it is none."""
    return _written(known_answer(answer))


def _stated(response: str) -> Any:
    """The expressions of a response: its last box, a plain one that it states, or what math-verify
    finds."""
    # Of several boxes math-verify makes a set.
    if (box := last_box(response)) is not None:
        return _parse(rf"\boxed{{{box}}}") or _parse(f"${box}$")
    if result := result_line(response):
        return _written(result)
    if not _LATEX.search(response):
        plain = stated_answer(response)
        if _PLAIN.fullmatch(plain) and (found := _parse(f"${plain}$")):
            return found
    return _parse(response)


def _written(text: str) -> Any:
    """The expressions of a text that is nothing else, LaTeX or plain."""
    if _LATEX.search(text):
        return _parse(text)
    return _parse(f"${text}$") or _parse(text)


def _parse(text: str) -> Any:
    from math_verify import parse

    text = _THOUSANDS.sub(lambda found: found[1] + re.sub(r"[^0-9]", "", found[2]), text)
    return parse(text, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
