r"""The number that a text ends with, exactly, or none: never another one.

The last digit of a text is looked for, and around it what can be one number. What is no number in
one of these forms, such as a time, a date, a range, a tuple, a version or a name, gives none:

=================== ============================================================================
form                for example
=================== ============================================================================
whole, decimal      `4042`, `-3`, `3.50`, `.5`; up to 100 digits
thousands           `1,234.50`, `1'234`, with a no-break or thin space, `1{,}234`, `1\,234`
exponent            `2e-3`, `1E100`; up to three digits
fraction            `-1/2`, `1.5 / 2`, `\frac{1}{2}`, `\frac12`, ½
mixed               `3 1/2`, `3½`, `3\frac{1}{2}`: 3.5
sign                any hyphen, dash or minus directly before the number or its currency: `-$5`,
                    `$-5`, −5, –5; with a space behind `=`, `:`, a bracket or a `$`: `x = - 5`
beside it           a currency, a unit, `%` (which changes nothing: `50%` is 50), punctuation,
                    brackets (which are no sign), Markdown and LaTeX that only set the text
=================== ============================================================================

The comma never stands for the decimal point. Digits are those of ASCII and their full-width forms.
Nothing looks back further than a line: the time is linear in the length of a text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

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
        "\ufe69": "$",
        "\u2019": "'",
    }
)
_DIGITS = "[0-9]{1,100}"
_UNSIGNED = (
    r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,30}|[0-9]{1,3}(?:'[0-9]{3}){1,30}"
    rf"|[0-9]{{1,3}}(?:\u00a0[0-9]{{3}}){{1,30}}|{_DIGITS})"
    rf"(?:\.{_DIGITS})?|\.{_DIGITS}"
)
_VALUE = rf"(?:{_UNSIGNED})(?:[eE][-+]?[0-9]{{1,3}})?"
# At the end of a text: a mixed number, a fraction, or a number.
_CORE = re.compile(
    rf"(?:(?P<whole>{_DIGITS})(?: ?{_MIXED}| {{1,3}})(?P<part>{_DIGITS})/(?P<of>{_DIGITS})"
    rf"|{_MIXED}?(?P<over>{_VALUE})(?: ?/ ?(?P<under>{_VALUE}))?)\Z"
)
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
    (re.compile(r"\\(?:approx|simeq|to|implies|Rightarrow|rightarrow)(?![a-zA-Z])"), "="),
    (
        re.compile(
            r"\\(?:boxed|fbox|text[a-z]*|math[a-z]+|left|right|displaystyle|quad|qquad|bf|rm|it|"
            r"[bB]igg?[lr]?|large|Large)(?![a-zA-Z])|\\[()\[\]:;\\ ]"
        ),
        " ",
    ),
)
_CURRENCY = "$€£¥₹¢"
_SIGN = re.compile(rf"([-+]?)((?:[A-Z]{{1,3}})?[{_CURRENCY}]|)([-+]?)\Z")
# What may stand directly before a number, and what brackets or sets it.
_SAFE = " \u00a0=<>;&~≈→\"'“”„‘«»。，、；！？…"
_OPEN = "([{\"'“”„‘«*_`~≈$#"
_MINUS_AFTER = "=:([{$≈<"
"""What a minus with a space behind it can follow."""
_OPERAND = re.compile(r"(?:[\d)\]]|(?<![A-Za-z])[A-Za-z])\Z")
_OPERATORS = frozenset(["+", "*", "**", "/", "^", "×", "÷", "·", "⋅", "∙", "±", "-", "--", "mod"])
_OPERAND_AND_OPERATOR = re.compile(r"(?:[\w)][+/^×÷·⋅±-]|[\d)]\*)\Z")
_UNIT = re.compile(r"[A-Za-zµ]+|/[A-Za-z]+|-[A-Za-z]{2,}")
# Glued to a number these are factors, variables, or what is left of an exponent.
_NO_UNIT = frozenset(
    ["k", "K", "M", "B", "bn", "Bn", "mn", "tn", "x", "y", "z", "n", "i", "j", "e", "E", "pi"]
)
# Behind a number, these make another of it: a scale, or an operator with what it takes.
_GOES_ON = re.compile(
    r"[ \u00a0]{0,2}(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?\b"
    r"|[ \u00a0]?[万萬亿億千百十]"
    r"|[)\]}]{0,9} ?[\^±×÷·⋅²³¹⁰⁴-⁹⁻√π\\]"
    r"|\(|\+|\*{1,2}[\w(]|_\w|-[A-Za-z]\b| [+*/] [\w(]",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A number and where what belongs to it begins."""

    value: Fraction
    start: int


def last_number(text: str) -> Fraction | None:
    """The number that a text ends with; None where what holds its last digit is no number.

    >>> last_number("It costs $1,234.50, or -1/2 of that")
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
    plain = _plain(text).rpartition("=")[2]
    found = _last(plain)
    if found is None or re.search(r"\d", plain[: found.start]):
        return None
    return found.value


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
    if core is None or _goes_on(after):
        return None
    start = end - len(core[0])
    before = text[max(0, start - _WIDEST) : start]
    value, sign = _value(core), _sign(before.rpartition("\n")[2], core[0])
    if value is None or sign is None or _in_brackets(before, after):
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


def _sign(before: str, core: str) -> str | None:
    """The sign of a number behind `before` in its line; None where it is part of something else."""
    match = _SIGN.search(before)
    assert match is not None, "it matches nothing, too"
    sign, rest = match[1] or match[3], before[: match.start()]
    bare = rest.rstrip(_OPEN)
    if match[1] and match[3]:
        return None
    if not bare:
        return sign
    if bare[-1] == " ":
        return _sign_behind(bare, core, sign, alone=bare == before)
    if bare[-1] == ":":
        return None if bare[-2:-1].isdecimal() else sign
    return sign if bare[-1] in _SAFE or _is_wide(bare[-1]) else None


def _sign_behind(before: str, core: str, sign: str, *, alone: bool) -> str | None:
    """As `_sign`, of a number with a space before it; `alone`: and with nothing in between."""
    words = before.rstrip()
    word = words.rpartition(" ")[2]
    rest = words[: len(words) - len(word)].rstrip()
    if word.endswith("-") and not word[:-1].strip(_MINUS_AFTER):
        # At the start of a line it marks an item, behind a word it is a pause, behind a number it
        # subtracts.
        opened = word[:-1] or rest
        return "-" if alone and opened and opened[-1] in _MINUS_AFTER else None
    if "\\" in word or (rest and word in _OPERATORS) or _OPERAND_AND_OPERATOR.search(word):
        return None
    if word in ("x", ":") and rest[-1:].isdecimal():
        return None
    if sign and _OPERAND.search(word):
        return None
    if (
        alone
        and re.search(r"(?<![0-9])[0-9]{1,3}\Z", word)
        and re.match(r"[0-9]{3}(?![0-9])", core)
    ):
        return None  # thousands, or two numbers
    return sign


def _is_wide(character: str) -> bool:
    """Letters of scripts that put no space between words."""
    return character.isalpha() and ord(character) >= 0x2E80


def _goes_on(after: str) -> bool:
    """Whether what follows a number makes another one of it."""
    if _GOES_ON.match(after):
        return True
    unit = _UNIT.match(after)
    if unit is None:
        return False
    return unit[0].strip("/") in _NO_UNIT or after[unit.end() : unit.end() + 1] in ("(", "^")


def _in_brackets(before: str, after: str) -> bool:
    """Whether a number lies in brackets with others: in a tuple, an interval, a remark."""
    closing = re.search(r"[()\[\]{}\n]", after)
    if closing is None or closing[0] not in ")]}":
        return False
    depth = 1
    for place in range(len(before) - 1, -1, -1):
        depth += (before[place] in ")]}") - (before[place] in "([{")
        if depth == 0:
            return re.search(r"\d", before[place:].rpartition("=")[2]) is not None
    return False
