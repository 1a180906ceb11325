"""Right where a response's mathematical expression equals the answer's: math-verify."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any
from unicodedata import normalize

from chord.data.batch import Problem
from chord.data.boxes import last_box
from chord.errors import ConfigError, quoted
from chord.io.extras import install
from chord.rewards.answers import known_answer, result_line, stated_answer
from chord.rewards.isolated import Isolated
from chord.rewards.kinds import has_other_letters, in_order
from chord.rewards.numbers import only_number, stated_number
from chord.rewards.words import CURRENCIES, SCALES

_LATEX = re.compile(r"\$|\\[(\[]|\\boxed")
# Numbers, one-letter variables, operators and the names of functions: no prose.
_PLAIN = re.compile(
    r"(?:[\d.,+\-*/^=<>!()\[\]{}|\s%]|\\[a-zA-Z]+|\\[{}]"
    r"|(?<![A-Za-z])(?:[A-Za-z]|sqrt|sin|cos|tan|log|ln|exp|pi|infty)(?![A-Za-z]))+"
)
# Behind a sign of equality math-verify takes 3,686 for two numbers.
_THOUSANDS = re.compile(
    r"(=\s{0,3}(?:\\?\$)?\s{0,3}-?\s{0,3})([0-9]{1,3}(?:(?:,|\{,\}|\\[,!])[0-9]{3}){1,30})(?![0-9,{])"
)
# Signs that math-verify reads in one way only, or not at all.
_PLAIN_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "±": r"\pm ",
        "∓": r"\mp ",
    }
)
_VULGAR = re.compile("[¼½¾⅐-⅞↉]")
_WHOLE = r"(?<![0-9.,}])(?:[0-9]{1,3}(?:,[0-9]{3}){1,30}|[0-9]{1,100})"
# ½, and what is a whole number and a part: 3½, 3 1/2.
_PART = re.compile(
    rf"(?:(?P<whole>{_WHOLE})[ ]?|(?<![0-9])(?<![0-9] ))(?P<vulgar>{_VULGAR.pattern})"
    rf"|(?<![/^])(?P<of>{_WHOLE}) {{1,3}}"
    r"(?P<part>[0-9]{1,100}/[1-9][0-9]{0,99})(?![0-9./])"
)
# Beside these it needs brackets: 2^½, ½x, ½ x. But 3½ m is a length.
_BINDS_BEFORE = re.compile(r"[\w)\]}/^÷]\Z")
_BINDS_BEHIND = re.compile(r"[\w(\[{^\\!]| [b-fijkn-rt-z]\b|\*\*")
_RAISED = re.compile("[⁰¹²³⁴-⁹]{1,30}")
_POWER = re.compile(r"(?<=[\w)])\*\*(?=[\w(])")
_SPACED = re.compile(r"(?<=[0-9])\\[,!](?=[0-9]{3}(?![0-9]))")
# Beside a number: a currency, degrees of a scale, a space of LaTeX, and a text that begins with it.
_CURRENCY = re.compile(
    rf"[€£¥₹](?=\s?-?[.0-9])|(?<=[0-9])\s?[€£¥₹]|(?:\b(?:{CURRENCIES}|US|Rs\.?)|₨)\s?(?=-?[.0-9])"
    rf"|(?<=[0-9])\s?(?:{CURRENCIES})\b"
)
_DEGREES = re.compile(
    r"(?<=[0-9])(?:\s|\\[,;! ])?(?:\^\s?(?:\\circ|\{\s?\\circ\s?\})|°)(?:\s|\\[,;! ]|~)?"
    r"(?:[CF]\b|\\(?:text|mathrm)\s?\{\s?[CF]\s?\})"
)
_TIE = re.compile(r"(?<=[0-9}])~")
_PHRASE = re.compile(r"\\text\s?\{\s?(-?[0-9][0-9.,]{0,99})\s([^{}0-9]+)\}")
# What changes the value beside it, and math-verify leaves out: both have it, or neither has.
_BOTH = (
    re.compile(rf"\b(?:{'|'.join(SCALES)}s?|[a-z]+illi(?:on|ard)s?)\b", re.IGNORECASE),
    re.compile(r"\b(?:minus|negative)\b", re.IGNORECASE),
    re.compile(r"‰|\\permil"),
)
# What both have alike: the base of a number, and the brackets of a set, a tuple or an interval.
_BASE = re.compile(r"[0-9](?:_[{(]*(?:\\text\{)?([0-9a-z]+)|([₀-₉]+))|\bbase[ -]([0-9a-z]+)", re.I)
_BRACKETS = re.compile(r"\A\s*(?:\\left)?\\?([{(\[]).*,.*([)}\]])[\s.]*\Z", re.DOTALL)
# Units that differ by a power of ten only; other units are left out.
_UNIT = re.compile(
    r"[0-9](?:[\s~}]|\\[ ,;]|\\(?:text|mathrm)\{)*([kcdmnµμ]?[mglL])(?:\^?\{?[23²³])?(?![A-Za-z])"
)
# What a response may have only where the answer has it.
_ADDED = (
    re.compile(r"\\[pm][mp](?![a-zA-Z])"),
    re.compile(r"[<>≤≥≠]|\\(?:neq?|leq?|geq?|lt|gt|not|notin|propto)(?![a-zA-Z])"),
    re.compile(r"\\[bp]?mod(?![a-zA-Z])|\bmod\b"),
    re.compile(r"(?:[-+*/^]|\\(?:times|cdot|div))[\s$.]*\Z"),
    re.compile(r"[0-9]\$?\s?:\s?\$?[0-9]"),
    re.compile(r"[0-9.}](?:[\s$~{]|\\[,;:! ]){0,9}(?:\.{2}|[…⋯‥]|\\[lc]?dots[cobmi]?(?![a-z]))"),
    _VULGAR,  # behind what is no whole number: 0.5½
)
_ALTERNATIVE = re.compile(
    r"[0-9a-z)}]\$?,?\s{0,3}(?:\\text\{)?\s{0,3}(?<![A-Za-z])or\b\s{0,3}\}?\s{0,3}\$?(?:[a-z]\s{0,3}=\s{0,3})?(?!so\b)[-0-9\\a-z]",
    re.IGNORECASE,
)
_DELIMITERS = re.compile(r"\$|\\[()\[\]]")
_SETS_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s?\{([^{}]*)\}")
# A number among words: no formula.
_PROSE = re.compile(r"[^\\^_+*=<>!{}]*[A-Za-z][^\\^_+*=<>!{}]*")
_WORD = 12  # characters of a word before a formula
_LONE = re.compile(r"\\?[A-Za-z]{1,20}(?:\([^()=]*\))?|\|[A-Za-z]\|")


@dataclass(kw_only=True)
class Math(Isolated):
    """1 where math-verify finds the response's expression equal to the answer's, else 0.

    Both are LaTeX or plain (`1/2`, `2*x + 1`). Of a response its last box is taken, else a last
    line `#### ...`, else its stated or its last expression.
    https://github.com/huggingface/Math-Verify
    """

    option = "math"

    def load(self) -> None:
        """Import math-verify, and let sympy's parser evaluate nothing but arithmetic."""
        if find_spec("math_verify") is None:
            raise ConfigError(f"reward=math: needs math-verify; {install('math')}")
        # Here and below: an optional package, which is imported in a worker alone.
        from chord.rewards.guard import guard_sympy

        guard_sympy()
        # It warns that its own time limit is off; the worker has one.
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        # Its first parse takes a second: outside the time limit.
        for text in ("$1$", "it is 1/2."):
            _parse(text)

    def harmless(self, problem: Problem) -> Sequence[str]:
        """The known answer, and a number: that evaluates a known answer that can be too much."""
        return problem.answer, "0"

    def known(self, answer: str) -> str:
        return known_answer(answer)

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for an equal expression, else 0.0; ConfigError where the answer holds none."""
        from math_verify import verify

        gold = _gold(problem.answer)
        if not gold:
            raise ConfigError(
                f"the answer {quoted(problem.answer)} of the problem is no expression"
            )
        response, answer = _typeset(response), _typeset(known_answer(problem.answer))
        piece = _piece(response)
        if piece and piece.strip() == answer.strip():
            return 1.0  # whatever it means
        if not response or _differs(piece, answer) or has_other_letters(piece, answer):
            return 0.0
        if pair := in_order(piece, answer):
            response, gold = rf"\boxed{{{pair[0]}}}", _gold(pair[1])
        try:
            equal = verify(gold, _stated(response), float_rounding=_DECIMALS, timeout_seconds=None)
        except Exception:  # whatever the library and sympy raise at a text that they can't read
            return 0.0
        return float(equal)


_DECIMALS = 12
"""Numbers are equal that are so to as many decimals."""


def _typeset(text: str) -> str:
    """The text with ASCII digits and minus signs, with powers and fractions as they read it, and
    without currencies and degrees."""
    text = text.translate(_PLAIN_SIGNS).replace("\\$", "").replace("\\%", "%")
    text = _DEGREES.sub("", _CURRENCY.sub("", text))
    text = _TIE.sub(" ", _PHRASE.sub(r"\1 \\text{ \2}", text))
    text = _SPACED.sub("", re.sub(r"\\not\s?=", r"\\ne ", text))
    text = _PART.sub(_fraction, text)
    return _POWER.sub("^", _RAISED.sub(lambda found: f"^{{{normalize('NFKC', found[0])}}}", text))


def _fraction(found: re.Match[str]) -> str:
    """`½` or `3 1/2` as one fraction: 1/2, 7/2."""
    part = found["part"] or normalize("NFKC", found["vulgar"]).replace("\u2044", "/")
    over, under = map(int, part.split("/"))
    whole = found["whole"] or found["of"]
    if whole is not None and over >= under:
        return found[0]
    value = f"{int((whole or '0').replace(',', '')) * under + over}/{under}"
    before, behind = found.string[: found.start()], found.string[found.end() :]
    bound = _BINDS_BEFORE.search(before[-1:]) or _BINDS_BEHIND.match(behind[:3])
    return f"{{({value})}}" if bound else value


def _piece(response: str) -> str:
    """The text of what a response states."""
    box = last_box(response)
    return result_line(response) or stated_answer(response) if box is None else box.text


def _differs(piece: str, answer: str) -> bool:
    """Whether what is stated is no value of the answer's kind, which math-verify would not see."""
    value = piece.rpartition("=")[2]
    if len(dollars := [found.start() for found in re.finditer(r"\$", value)]) > 2:
        value = value[max(0, dollars[-2] - _WORD) :]  # of several formulas the last, and its sign
    if any(sign.search(value) and not sign.search(answer) for sign in _ADDED):
        return True
    if any(bool(sign.search(value)) != bool(sign.search(answer)) for sign in _BOTH):
        return True
    if _bases(value) != _bases(answer) or _is_another_kind(value, answer):
        return True
    if _ALTERNATIVE.search(piece) and only_number(answer) is not None:
        return True
    if "=" not in piece and _reads_another(piece, answer):
        return True
    piece = _DELIMITERS.sub("", piece)
    left, equation, _ = piece.partition("=")
    if not equation or "=" in answer or not (_PLAIN.fullmatch(piece) and "," not in piece):
        return False
    # 5 + 7 = 12 is a calculation, 2x + y = 3 and 2x = 6 are equations.
    left = re.sub(r"_(?:\w|\{[^{}]*\})|\s|\$", "", left)
    letters = re.search(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+", "", left))
    return letters is not None and _LONE.fullmatch(left) is None


def _bases(text: str) -> list[str]:
    """The bases that the numbers of a text are said to have."""
    return [normalize("NFKC", "".join(each)).lower() for each in _BASE.findall(text)]


def _is_another_kind(value: str, answer: str) -> bool:
    """Whether one is a set and the other a tuple, or one in metres and the other in kilometres."""
    for kind in (_BRACKETS, _UNIT):
        stated, known = (kind.search(text.strip(" $")) for text in (value, answer))
        if stated and known and stated.groups() != known.groups():
            return True
    return False


def _reads_another(piece: str, answer: str) -> bool:
    """Whether words around a number make another one of it than the answer, as `numeric` reads."""
    said = _SETS_TEXT.sub(r"\1", piece).replace("$", "")
    known = only_number(answer)
    if known is None or not _PROSE.fullmatch(said) or re.search("%|percent", said + answer):
        return False
    return stated_number(said) != known


@lru_cache(maxsize=256)
def _gold(answer: str) -> Any:
    """The known answer as sympy's expressions; empty where it is none."""
    text = _typeset(known_answer(answer))
    return [] if _VULGAR.search(text) else _written(text)


def _stated(response: str) -> Any:
    """The expressions of a response: its last box, a plain one that it states, or what math-verify
    finds."""
    # Of several boxes math-verify makes a set.
    if (box := last_box(response)) is not None:
        return _parse(rf"\boxed{{{box.text}}}") or _parse(f"${box.text}$")
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
    from sympy import Basic, ceiling, floor

    text = _THOUSANDS.sub(lambda found: found[1] + re.sub(r"[^0-9]", "", found[2]), text)
    found = parse(text, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
    # It leaves these as they are, and then they equal no number.
    return [
        each.doit() if isinstance(each, Basic) and each.has(floor, ceiling) else each
        for each in found
    ]
