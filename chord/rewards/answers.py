"""What a language model's response states as its answer: text rules, nothing is evaluated."""

from __future__ import annotations

import re
from fractions import Fraction

_OPEN, _CLOSE = "<answer>", "</answer>"
_BOX = "\\boxed{"
_RESULT = "####"
_STATED = re.compile(r"\banswer(?:\s+is\b\s*:?|\**\s*:)\**\s*(?=\S)", re.IGNORECASE)
# Bounded: int() of a long text takes long, and the rest of one would pass for a number.
_DIGITS = r"(?<![0-9])(?:[0-9]{1,3}(?:,[0-9]{3}){1,30}(?![0-9])|[0-9]{1,100}(?![0-9]))"
_UNSIGNED = rf"(?:{_DIGITS}(?:\.[0-9]{{1,100}}(?![0-9]))?|(?<![0-9])\.[0-9]{{1,100}}(?![0-9]))"
_NUMBER = re.compile(
    # A minus behind a digit, a letter or a bracket subtracts.
    rf"((?<![\w)\]}}])[-+\u2212])?({_UNSIGNED}(?:[eE][-+]?[0-9]{{1,2}}(?![0-9]))?)"
    rf"(?:\s?/\s?({_UNSIGNED}))?"
)


def stated_answer(response: str, *, lines: bool = False) -> str:
    r"""The answer in a response: what its last mark holds, or the last line that says something.

    Marks, in this order: `<answer>...</answer>`, `\boxed{...}`, a last line `#### ...`, and what
    follows "answer is" or "answer:" up to the end of the line, without its full stop and asterisks.
    `lines`: the answer has several; then `####` is no mark, the last mark's text goes on to the
    end, and without one all is the answer.

    >>> stated_answer("Twelve times thirteen. The answer is **156**.")
    '156'
    """
    end = response.rfind(_CLOSE)
    start = response.rfind(_OPEN, 0, max(0, end))
    if start >= 0:
        return response[start + len(_OPEN) : end].strip()
    if (box := last_box(response)) is not None:
        return box
    if not lines and (result := result_line(response)):
        return result
    for stated in _STATED.finditer(response):
        start = stated.end()
    rest = response[max(0, start) :].strip()
    if lines or not rest:
        return rest
    line = rest.splitlines()[0 if start > 0 else -1]
    return line.strip().strip("*").strip().removesuffix(".").strip("*").strip()


def known_answer(answer: str) -> str:
    """What is right: of a worked solution with a last line `#### 18` what stands there, else all.

    >>> known_answer("He sells 16 - 7 = 9 eggs for 9 * 2 = 18.\\n#### 18")
    '18'
    """
    return result_line(answer) or answer


def last_box(text: str) -> str | None:
    r"""What the last `\boxed{...}` of a text holds, braces within it included; None without one."""
    box = text.rfind(_BOX)
    return None if box < 0 else _braced(text, box + len(_BOX)).strip()


def result_line(text: str) -> str:
    """What a last line `#### ...` says; empty where there is no such line."""
    line = text.rstrip().rpartition("\n")[2].strip()
    marked = line.startswith(_RESULT) and not line.startswith(f"{_RESULT}#")
    return line.removeprefix(_RESULT).strip() if marked else ""


def _braced(text: str, start: int) -> str:
    """From `start` up to the brace that closes what was open there."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start:]


def last_number(text: str) -> Fraction | None:
    """The last number of a text, exactly; None where there is none, or it is divided by zero.

    Thousands separated by commas, signs, decimals, an exponent of at most two digits, and fractions
    a/b. A minus behind a digit, a letter or a bracket is no sign.

    >>> last_number("It costs $1,234.50, or -1/2 of that")
    Fraction(-1, 2)
    """
    found = None
    for found in _NUMBER.finditer(text):  # noqa: B007
        pass
    if found is None:
        return None
    sign, over, under = found.groups()
    value = Fraction(over.replace(",", ""))
    if under is not None:
        divisor = Fraction(under.replace(",", ""))
        if divisor == 0:
            return None
        value /= divisor
    return -value if sign in ("-", "\u2212") else value
