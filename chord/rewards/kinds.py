"""What math-verify does not see of an answer: the order of named values, the letters of a word."""

from __future__ import annotations

import re

# x, x_1, \alpha
_NAME = r"(?P<letter>\\?[A-Za-z]+?)(?:_?\{?(?P<index>[0-9]{1,9})\}?)?"
_NAMED = re.compile(rf"\s*(?:\\[,;: ]|\s)*{_NAME}\s*=(?P<value>[^=]+)", re.DOTALL)
_AND = re.compile(r"\\(?:text|mathrm)\s?\{\s*,?\s*and\s*\}|\band\b|\\q?quad\b|;")
_GROUPED = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3}){1,30}(?:\.[0-9]+)?")
_FORMULA = re.compile(r"\$([^$]+)\$|\\\(([^$]+?)\\\)")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])|\\[,;!: ]|~")
_WORDY = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
# What may be around a word, and what separates words.
_AROUND = re.compile(
    r"\\(?:text[a-z]*|math[a-z]+|operatorname|overline|angle|triangle|left|right)(?![a-zA-Z])"
    r"|\\[{},;!: ]|[\s${},;()\[\].]"
)
_LETTERS = 3  # make a word; two are a product


def in_order(stated: str, known: str) -> tuple[str, str] | None:
    r"""Both as tuples, where one has an order that math-verify would ignore; None elsewhere.

    Named values have the order of their names. Those without brackets have the order in which they
    stand if the others are in parentheses, or are named in the known answer.

    >>> in_order("y = 2, x = 1", "(1, 2)")
    ('(1,2)', '(1,2)')
    >>> in_order("2, 1", r"\{1, 2\}") is None
    True
    """
    stated, known = _formula(stated), _formula(known)
    if not ("," in stated or "=" in stated) or not ("," in known or "=" in known):
        return None
    named, names = _by_name(stated), _by_name(known)
    if named and names:
        return None
    pair, others = named or _values(stated), names or _values(known)
    if pair is None or others is None:
        return None
    # Beside a known answer without brackets or names, values have no order.
    if names or _is_round(known) != (named is None and _is_round(stated)):
        return f"({','.join(pair)})", f"({','.join(others)})"
    return None


def has_other_letters(stated: str, known: str) -> bool:
    """Whether both are words, and not the same ones: HTH and HHT are no products.

    >>> has_other_letters("HTH", "HHT"), has_other_letters("xy", "yx")
    (True, False)
    """
    said, right = (_AROUND.sub(" ", text).split() for text in (_formula(stated), known))
    if not all(word.isascii() and word.isalpha() for word in (*said, *right)):
        return False
    is_word = any(len(word) >= _LETTERS for word in said) and any(
        len(word) >= _LETTERS for word in right
    )
    return is_word and sorted(said) != sorted(right)


def _formula(text: str) -> str:
    """The formulas of a text if each names a value, else the last one; all of it without one."""
    formulas = [found[1] or found[2] for found in _FORMULA.finditer(text)]
    if len(formulas) > 1 and all(_NAMED.fullmatch(formula) for formula in formulas):
        formulas = [",".join(formulas)]
    return _SIZES.sub(" ", formulas[-1] if formulas else text).strip(" \n\t.$")


def _by_name(text: str) -> list[str] | None:
    """The values of `x = 1, y = 2` by their names; None of another text, or of one name twice."""
    found = [_NAMED.fullmatch(part) for part in _parts(_AND.sub(",", text)) if part.strip()]
    named = [each for each in found if each is not None]
    names = [(each["letter"].lower(), int(each["index"] or 0), each["letter"]) for each in named]
    if len(found) < 2 or len(named) < len(found) or len(set(names)) < len(names):
        return None
    # Greek letters have no order that all would use: theirs is the one in which they stand.
    if all(len(letter) == 1 for letter, _, _ in names):
        named = [each for _, each in sorted(zip(names, named, strict=True), key=lambda one: one[0])]
    return [each["value"].strip() for each in named]


def _values(text: str) -> list[str] | None:
    """The values of `(1, 2)` or `1, 2`; None of other brackets, of words and of one value."""
    text = text.rpartition("=")[2].strip()
    inner = _inside(text)
    parts = _parts(text if inner is None else inner)
    if len(parts) < 2 or _WORDY.search(text) or (inner is None and _GROUPED.fullmatch(text)):
        return None
    return [part.strip() for part in parts]


def _is_round(text: str) -> bool:
    return _inside(text) is not None


def _inside(text: str) -> str | None:
    """What is in the parentheses of `(1, 2)`; None of another text, such as `(1, 2), (3, 4)`."""
    text = text.rpartition("=")[2].strip()
    is_round = text.startswith("(") and text.endswith(")")
    return text[1:-1] if is_round and len(_parts(text)) == 1 else None


def _parts(text: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    parts, depth, begin = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
