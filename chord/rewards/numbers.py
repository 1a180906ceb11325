r"""The number that a response states, exactly, or none: never another one.

A text states a number in few forms, all of them given here and in `chord.rewards.clause`; of every
other text no number is read. What is a number:

=================== ============================================================================
form                for example
=================== ============================================================================
whole, decimal      `4042`, `-3`, `3.50`, `.5`; up to 100 digits
thousands           `1,234.50`, `1'234`, with a no-break or thin space, `1{,}234`, `1\,234`
exponent            `2e-3`, `1E100`; up to three digits
fraction            `-1/2`, `1.5 / 2`, `\frac{1}{2}`, `\frac12`, ½
mixed               `3 1/2`, `3½`, `3\frac{1}{2}`: 3.5
sign                a hyphen, minus, figure dash or en dash directly before the number or its
                    currency: `-$5`, `$-5`, `-USD 5`, −5, –5; with one space behind `=` or `:`
=================== ============================================================================

The comma never stands for the decimal point. Digits are those of ASCII and their full-width forms.
The time is linear in the length of a text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from chord.data.boxes import MARKS
from chord.rewards.answers import Mark, statement
from chord.rewards.clause import (
    ends,
    explains,
    introduces,
    is_closed,
    is_difference,
    leads,
    sentences,
    stated_end,
    surrounds,
    takes_back,
)
from chord.rewards.words import CURRENCIES

_MINUS = "\u2010\u2011\u2012\u2013\u02d7\u2212\u2796\ufe63\uff0d"
_MIXED, _WHOLE, _DOLLAR = "\ue000", "\ue001", "\ue002"
"""What stands before and behind a fraction that needs no space beside a whole number, and for a
dollar sign that opens no formula."""
_VULGAR = {
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅐": "1/7", "⅑": "1/9", "⅒": "1/10", "⅓": "1/3", "⅔": "2/3",
    "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8",
    "⅝": "5/8", "⅞": "7/8", "↉": "0/3",
}  # fmt: skip
_SIGNS = str.maketrans(
    {
        **dict.fromkeys(_MINUS, "-"),
        **{chr(0xFF01 + at): chr(0x21 + at) for at in range(94) if chr(0xFF01 + at) != "\uff0d"},
        **{sign: _MIXED + fraction + _WHOLE for sign, fraction in _VULGAR.items()},
        **dict.fromkeys("\u2044\u2215", "/"),
        **dict.fromkeys("\u00a0\u2007\u2008\u2009\u202f", "\u00a0"),
        **dict.fromkeys("\ue000\ue001\ue002\x1c\x1d\x1e\x1f\t\v\f\r\u3000", " "),
        **dict.fromkeys("⟨〈〈【", "("),
        **dict.fromkeys("⟩〉〉】", ")"),
        "\u2236": ":",
        "\ufe0f": None,  # asks for an emoji
        "\ufe69": "$",
        "\u2019": "'",
    }
)
_DIGITS = "[0-9]{1,100}"
_UNSIGNED = (
    r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3}){1,30}|(?:'[0-9]{3}){1,30}|(?:\u00a0[0-9]{3}){1,30})"
    rf"|{_DIGITS})"
    rf"(?:\.{_DIGITS})?|(?<!\.)\.{_DIGITS}"
)
_VALUE = rf"(?:{_UNSIGNED})(?:[eE][-+]?[0-9]{{1,3}})?"
# At the end of a text: a mixed number, a fraction, or a number.
_CORE = re.compile(
    rf"(?:(?P<whole>{_DIGITS})(?: ?{_MIXED}| {{1,3}})(?P<part>{_DIGITS})/(?P<of>{_DIGITS})"
    rf"|{_MIXED}?(?P<over>{_VALUE})(?: ?/ ?(?P<under>{_VALUE}))?)\Z"
)
_WIDEST = 1000  # more characters than any number has
_SIGN = re.compile(
    rf"(?P<first>[-+]?)(?P<currency>(?:[A-Z]{{1,3}})?[$€£¥₹¢] ?|(?:{CURRENCIES}) |)"
    r"(?P<second>[-+]?)\Z"
)
_SPACED_MINUS = re.compile(r"(?<=[=:≈(\[]) ?- {1,3}\Z")
_LATEX = (
    (
        re.compile(rf"\\[dtc]?frac ?{{ ?(-?) ?({_DIGITS}) ?}} ?{{ ?({_DIGITS}) ?}}"),
        rf"\1{_MIXED}\2/\3{_WHOLE}",
    ),
    (re.compile(r"\\[dtc]?frac ?([0-9]) ?([0-9])"), rf"{_MIXED}\1/\2{_WHOLE}"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\,"), "\u00a0"),
    (re.compile(r"\^ ?(?:\\circ(?![a-zA-Z])|\{ ?\\circ ?\})|\\degree(?![a-zA-Z])"), "°"),
    (re.compile(r"\\\$"), _DOLLAR),
    (re.compile(r"\\([%#&_])"), r"\1"),
    (re.compile(r"(?<=[0-9{])~(?=[\\a-zA-Z])"), " "),
    (re.compile(r"\\(?:approx|simeq)(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\(?:implies|therefore|Rightarrow)(?![a-zA-Z])"), ", so "),
    (
        re.compile(
            r"\\(?:boxed|fbox|text[a-z]*|math[a-z]+|left|right|displaystyle|quad|qquad|bf|rm|it|"
            r"[bB]igg?[lr]?|large|Large)(?![a-zA-Z])|\\[\[\]():;\\ ]|&(?= ?=)"
        ),
        " ",
    ),
)
# What sets a text and says nothing, with a space or a bracket beside it. A space takes its place,
# so that nothing is joined.
_SETS = re.compile(
    r"(?:(?<=[\s(\[:=$])|\A)[*_`\"“”„«»]{1,9}(?=[^\s=])"
    r"|(?<=\S)[*_`\"“”„«»]{1,9}(?=[\s)\].,:;!?%$]|\Z)"
)
_ANNOTATION = re.compile(r"(?<=[=$€£ ])<<[^<>=\n]{1,200}=[^<>=\n]{1,100}>>")
"""A calculation as GSM8K writes it before its result: 48+24 = <<48+24=72>>72."""
_FORMULA = re.compile(r"\$(?=\S)([^$]{1,200})(?<=\S)\$(?![0-9])|\$\$")
_SQUARED = re.compile(
    r"(?<![A-Za-z])((?:[kcdm]?m|ft|yd|mi|(?<=/)(?:s|h|hr|min|sec)) ?)\}? ?\^ ?\{?([23])\}?(?![0-9])"
)
_BRACKETS = {"(": ")", "[": "]"}


def stated_number(response: str) -> Fraction | None:
    r"""The number that a response states; None where that is no number in a documented form.

    >>> stated_number("It costs $1,234.50. The answer is -1/2.")
    Fraction(-1, 2)
    >>> stated_number("at 12:30") is None
    True
    """
    stated = statement(_concluded(response))
    if stated.mark is Mark.TAG:
        return stated_number(stated.text)
    text = _plain(stated.text)
    end = stated_end(text) if stated.mark is Mark.SAID else len(text)
    number = _number(text[:end], marked=stated.mark is not Mark.NONE)
    if number is None:
        return None
    if stated.mark is Mark.BOX:
        is_stated = not any(mark in stated.before for mark in MARKS) and surrounds(
            _plain(stated.before), _plain(stated.behind)
        )
    elif stated.mark is Mark.SAID:
        is_stated = leads(stated.before) and not _is_changed(number.value, text[end:])
    else:
        # Above a bare number nothing may be open: minus, 5 hours, 2 *.
        above = stated.before.rstrip()
        is_stated = not (number.bare and above) or is_closed(above)
    return number.value if is_stated else None


def _concluded(response: str) -> str:
    """What a response says behind its thoughts; these, where it says nothing behind them."""
    thoughts, closed, rest = response.rpartition("</think>")
    return rest if rest.strip() or not closed else thoughts.rpartition("<think>")[2]


def _is_changed(number: Fraction, behind: str) -> bool:
    """Whether the sentences behind a stated number take it back or state another one."""
    for sentence in sentences(behind):
        other = None if explains(sentence) else _number(sentence, marked=False)
        if takes_back(sentence) or (other is not None and other.value != number):
            return True
    return False


@lru_cache(maxsize=4096)  # known answers, each compared with many responses
def only_number(text: str) -> Fraction | None:
    """The number that a text consists of, or that is behind its last `=`; None for any other text.

    >>> only_number("2 * 9 = 18 eggs")
    Fraction(18, 1)
    >>> only_number("(1, 2)") is None
    True
    """
    plain = _plain(text.strip())
    number = _number(plain, marked=True)
    return number.value if number is not None and (number.bare or "=" in plain) else None


def _plain(text: str) -> str:
    """The text with one minus, one kind of digits, fractions as a/b, and nothing that sets it."""
    text = _ANNOTATION.sub("", text).translate(_SIGNS)
    if "\\" in text or "{,}" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    text = re.sub(rf"{_WHOLE}(?![0-9]|[.,][0-9])", "", text)
    text = _FORMULA.sub(r" \1 ", _SETS.sub(" ", text))
    text = text.replace(_DOLLAR, "$")
    text = _SQUARED.sub(lambda found: f"{found[1]}{'²³'[int(found[2]) - 2]}", text)
    text = re.sub(r"([\^_])\{([^{}]{0,200})\}", r"\1(\2)", text)
    return re.sub(r"[ {}\n][ {}\n\u00a0]*|\u00a0[ {}\n][ {}\n\u00a0]*", " ", text)


class _Number(NamedTuple):
    """A number, and whether nothing introduces it."""

    value: Fraction
    bare: bool


def _number(text: str, *, marked: bool) -> _Number | None:
    """The last number of a plain text, where all that is around it lets it stand for itself."""
    digit = re.search(r"\d", text[::-1])
    if digit is None:
        return None
    end = len(text) - digit.start()
    core = _CORE.search(text[max(0, end - _WIDEST) : end])
    if core is None:
        return None
    start = end - len(core[0])
    before = text[max(0, start - _WIDEST) : start].replace("\u00a0", " ")
    after = text[end : end + _WIDEST].replace("\u00a0", " ")
    sign = _SIGN.search(before)
    assert sign is not None, "it matches nothing, too"
    minus, before = f"{sign['first']}{sign['second']}", before[: sign.start()]
    if not minus and (spaced := _SPACED_MINUS.search(before)):
        minus, before = "-", before[: spaced.start()]
    opening, closing = before.rstrip(), after.lstrip()
    if opening and _BRACKETS.get(opening[-1]) == closing[:1]:
        before, after = opening[:-1], closing[1:]
    value = _value(core)
    if value is None or len(minus) > 1:
        return None
    if not (introduces(before, marked=marked) and ends(after, currency=bool(sign["currency"]))):
        return None
    if is_difference(before, after):
        return None
    return _Number(-value if minus == "-" else value, not before.strip())


def _value(core: re.Match[str]) -> Fraction | None:
    if core["whole"] is not None:
        over, under = int(core["part"]), int(core["of"])
        return int(core["whole"]) + Fraction(over, under) if over < under else None
    value = _fraction(core["over"])
    if core["under"] is None:
        return value
    divisor = _fraction(core["under"])
    return value / divisor if divisor else None


def _fraction(written: str) -> Fraction:
    return Fraction(re.sub(r"[,'\u00a0]", "", written))
