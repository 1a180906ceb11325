r"""The number that a text ends with, exactly, or none: never another one.

The last digit of a text is looked for, and around it what can be one number. What a sentence makes
part of something else gives none, by the rules of `chord.rewards.clause`; so does what is no number
in one of these forms, such as a time, a date, a range, a tuple, a version or a name:

=================== ============================================================================
form                for example
=================== ============================================================================
whole, decimal      `4042`, `-3`, `3.50`, `.5`; up to 100 digits
thousands           `1,234.50`, `1'234`, with a no-break or thin space, `1{,}234`, `1\,234`
exponent            `2e-3`, `1E100`; up to three digits
fraction            `-1/2`, `1.5 / 2`, `\frac{1}{2}`, `\frac12`, ½
mixed               `3 1/2`, `3½`, `3\frac{1}{2}`: 3.5
sign                a hyphen, minus or en dash directly before the number or its currency: `-$5`,
                    `$-5`, `-USD 5`, −5, –5; with a space behind `=`, `:`, an opening bracket or
                    `$`: `x = - 5`
beside it           a currency, a unit, `%` (which changes nothing: `50%` is 50), punctuation,
                    brackets (which are no sign), Markdown and LaTeX that only set the text; which
                    words and letters may be units is in `chord.rewards.beside`
=================== ============================================================================

The comma never stands for the decimal point. Digits are those of ASCII and their full-width forms.
Nothing looks further than a line and what the next one begins or the one before ends with; the time
is linear in the length of a text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from chord.rewards.beside import goes_on, in_brackets, sign_of
from chord.rewards.clause import exclaims

_MINUS = "\u2010\u2011\u2012\u2013\u02d7\u2212\u2796\ufe63\uff0d"
_MIXED = "\x1f"
"""Stands before the fractions that need no space behind a whole number."""
_VULGAR = {
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅐": "1/7", "⅑": "1/9", "⅒": "1/10", "⅓": "1/3", "⅔": "2/3",
    "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8",
    "⅝": "5/8", "⅞": "7/8", "↉": "0/3",
}  # fmt: skip
_SIGNS = str.maketrans(
    {
        **dict.fromkeys(_MINUS, "-"),
        **{chr(0xFF01 + at): chr(0x21 + at) for at in range(94) if chr(0xFF01 + at) != "\uff0d"},
        **{sign: _MIXED + fraction for sign, fraction in _VULGAR.items()},
        **dict.fromkeys("\u2044\u2215", "/"),
        **dict.fromkeys("\u00a0\u2007\u2008\u2009\u202f", "\u00a0"),
        **dict.fromkeys("\x1f\t\v\f\r\u3000", " "),
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
# Behind a decimal: digits that are not written. Behind a whole number it is a pause.
_AND_SO_ON = re.compile(r"[)\]}*_`$ \u00a0]{0,9}(?:\.{2}|[…‥⋯])")
_SHOUTED = re.compile(r"[)\]}*_`$\"'”’ \u00a0]{0,9}!")
_WIDEST = 1000  # more characters than any number has
_LATEX = (
    (
        re.compile(rf"\\[dtc]?frac ?{{ ?(-?) ?({_DIGITS}) ?}} ?{{ ?({_DIGITS}) ?}}"),
        rf"\1{_MIXED}\2/\3",
    ),
    (re.compile(r"\\[dtc]?frac ?([0-9]) ?([0-9])(?![0-9])"), rf"{_MIXED}\1/\2"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\,"), "\u00a0"),
    (re.compile(r"\^ ?(?:\\circ(?![a-zA-Z])|\{ ?\\circ ?\})|\\degree(?![a-zA-Z])"), "°"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\(?:approx|simeq|to|implies|therefore|Rightarrow|rightarrow)(?![a-zA-Z])"), "="),
    (
        re.compile(
            r"\\(?:boxed|fbox|text[a-z]*|math[a-z]+|left|right|displaystyle|quad|qquad|bf|rm|it|"
            r"[bB]igg?[lr]?|large|Large)(?![a-zA-Z])|\\[\[\]:;\\ ]"
        ),
        " ",
    ),
    (re.compile(r"\\[()]"), "$"),
)


class Found(NamedTuple):
    """A number and where what belongs to it begins."""

    value: Fraction
    start: int


def last_number(text: str) -> Fraction | None:
    """The number that a text ends with; None where what holds its last digit is no number.

    >>> last_number("It costs $1,234.50, and we have -1/2 of that")
    Fraction(-1, 2)
    >>> last_number("at 12:30") is None
    True
    """
    found = _last(_plain(text))
    return None if found is None else found.value


def only_number(text: str) -> Fraction | None:
    """The one number of a text, or of what stands behind its last `=`; None where it has others.

    >>> only_number("2 * 9 = 18 eggs")
    Fraction(18, 1)
    >>> only_number("(1, 2)") is None
    True
    """
    plain = _plain(text)
    found, start = _last(plain), plain.rfind("=") + 1
    if found is None or found.start < start or re.search(r"\d", plain[start : found.start]):
        return None
    return None if re.search(r"[0-9]!", plain) else found.value  # 5! is 120


def _plain(text: str) -> str:
    """The text with one minus, one kind of digits and thin spaces, and fractions as a/b."""
    text = text.translate(_SIGNS)
    if "\\" in text or "{,}" in text:
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    return text


def _last(text: str) -> Found | None:
    digit = re.search(r"\d", text[::-1])
    if digit is None:
        return None
    end = len(text) - digit.start()
    core = _CORE.search(text[max(0, end - _WIDEST) : end])
    after = text[end : end + _WIDEST]
    if core is None or goes_on(after) or ("." in core[0] and _AND_SO_ON.match(after)):
        return None
    start = end - len(core[0])
    before = text[max(0, start - _WIDEST) : start]
    if _SHOUTED.match(after) and not exclaims(before, after):
        return None
    value, sign = _value(core), sign_of(before, core[0])
    if value is None or sign is None or in_brackets(before, after):
        return None
    return Found(-value if sign == "-" else value, start)


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
