r"""What stands beside a number: whether that leaves it a number of its own, and which sign it has.

Behind a number may stand a word of two letters or more (`5 apples`, `5-year`) that is neither a
number, nor a scale, nor a part, nor the name of a function or a constant; one of the letters in
`LETTERS`, behind a space (`5 m`); and one of `GLUED` without one (`5kg`). Any other letter may be
a factor. A scale, a part or a calculation counts behind a comma or a line's end as well.
"""

from __future__ import annotations

import re
import unicodedata

from chord.rewards.clause import is_wide, stands_alone, takes
from chord.rewards.words import (
    CHANGED,
    CONSTANTS,
    COUNT,
    COUNTED,
    CURRENCIES,
    FUNCTIONS,
    GLUED,
    LETTER,
    LETTERS,
    MEASURES,
    NOT_BEHIND,
    NUMERAL,
    PARTS,
    SCALE,
    SCALES,
    is_unit_word,
)

_SIGN = re.compile(
    rf"([-+]?)((?:[A-Z]{{1,3}})?[$€£¥₹¢][ \u00a0]?|(?:{CURRENCIES})[ \u00a0]|)([-+]?)\Z"
)
# What may stand directly before a number, and what brackets or sets it.
_SAFE = "=;&~≈→⇒⟹⟶➔➜∴•◦‣▪●✓✔✅\"'“”„‘«»。、；！？"
# Signs of mathematics that leave a number beside them what it is, or are looked at elsewhere.
_RELATIONS = "=≈≃≅≡~∼<>|+→⇒⟹⟶⇔⟺∴∵"
_OPEN = "([{\"'“”„‘«*_`~≈$#"
_MINUS_AFTER = "=:([{$≈"
"""What a minus with a space behind it can follow."""
_MARKUP = "$*_`~"
_CLOSING = "$*_`~)}]\"'”’"


_VARIABLE = rf"[$*_`( ]{{0,4}}{LETTER}\b(?! {LETTER}{{2}}|['’]|\.{LETTER})"
# A line that begins so goes on with the line before: with a small letter, a scale, or a sign that
# marks no item of a list.
_WRAPPED = re.compile(
    r"[ \u00a0]{0,40}\n\s*(?=(?:[$`_({ ]|\*{1,3}(?! )){0,9}"
    rf"(?:[a-z]{{2}}|a |(?i:{SCALE})s?\b(?! of\b)"
    r"|(?:[A-Za-z]|[万萬亿億百十千兆만억천조백])[^\w\n]*(?:\n|\Z))"
    r"|\\(?:times|cdot|div|pm|mp|[lc]?dots|pi)(?![a-zA-Z])|[\^±∓×÷⋅√π²³]"
    r"|[-+*/] ?[A-Za-z][^\w\n]*(?:\n|\Z))"
)
_GAP = re.compile(r"[)\]}{\"'”’“»*_`$~ \u00a0-]{0,40}")
_WORD = re.compile(rf"{LETTER}+")
_BEYOND = "(?:more|less|fewer|greater|larger|smaller|higher|lower|above|below|under|over|up|beyond)"
_NUMBER_WORD = rf"(?:{COUNT}s?|{SCALE}s?|half)"
_BASE = "(?:base|radix|binary|octal|hex(?:adecimal)?|ternary)"
# Behind a number, these make another of it: a scale, or an operator with what it takes.
_GOES_ON = re.compile(
    r"[)\]}{\"'”’“»*_`$~ \u00a0]{0,40}"
    r"(?:[万萬亿億百十兆만억천조백半割折]|千(?![克米瓦])"
    r"|[\^±∓×÷·⋅∙∗²³¹⁰⁴-⁹⁻ⁿⁱ₀-₉√∛∜π‰‱∞≤≥≠])"
    r"|[)\]}]{0,9} ?\\|[)\]}\"'*_`$]{0,9}[ \u00a0]?[<>]="
    r"|[)\]}]{0,9}\(|[)\]}*$`]{0,9}\+|\*{1,2}[\w(]|_\w"
    r"|[)\]}*_`$]{0,9} [+*/<>] [\w(\\]|<[A-Za-z](?:[\s.,$)]|\Z)"
    rf"|[)\]}}*_`$]{{0,9}} ?\( ?(?:(?:in )?{_BASE}|mod|{'|'.join([*SCALES, *CHANGED])})s?\b"
    rf"|[)\]}}*_`$]{{0,9}} ?\( ?{LETTER} ?[-+*/^]"
    rf"|[)\]}}*_`$]{{0,9}} ?: ?{LETTER}\b(?! {LETTER})"
    rf"|[)\]}}*_`$]{{0,9}} ?- ?\( ?{LETTER}\b"
    r"|[)\]}*_`$ -]{0,9}(?:st|nd|rd|th)[)\]}*_`$]{0,9}[ -](?:[a-z]{1,20} )?(?:roots?|powers?)\b"
    r"|[)\]}*_`$]{0,9} (?:square|cube|cubic) roots?\b"
    rf"|[)\]}}*_`$]{{0,9}} ?% of (?:{_VARIABLE}|{NUMERAL}\b)"
    rf"|[)\]}}*_`$]{{0,9}} ?percent of {_VARIABLE}",
    re.IGNORECASE,
)
# Behind the end of a clause; behind that of a sentence a capital begins another one.
_RESUMED = re.compile(
    r"[)\]}\"'”’“»*_`$ \u00a0]{0,40}(?:[,;—、]|[.:!?…。]{1,3}(?!\s*(?-i:[A-Z])))"
    rf"[\"'*_`$({{ \u00a0]{{0,9}}(?:{SCALE}(?:\b|s\b(?! of\b))|(?:{'|'.join(CHANGED)})\b"
    rf"|(?:(?:and|or) )?{COUNT}\b(?! of\b|-(?!{COUNT}\b){LETTER})"
    rf"|or {_BEYOND}\b|at (?:least|most)\b"
    rf"|and (?:an?|{NUMERAL}) (?:{'|'.join(PARTS)})s?\b(?! of\b)"
    rf"|(?:(?:divided|multiplied) by|raised to)\b|(?:plus|minus|over|times|choose) {_VARIABLE})",
    re.IGNORECASE,
)
_DIVIDED = re.compile(r"[)\]}*_`$]{0,9} ?/")
_PER = re.compile(rf"[)\]}}*_`$]{{0,9}}/({LETTER}{{2,}})")
_SHORT_WORD = re.compile(r"[aAI] [A-Za-z]{2}|[A-Za-z]\.[A-Za-z]\.")  # 5 a day, 5 p.m.
_MORE = "(?:more|less|fewer|greater|larger|smaller|higher|lower)"
_CONTINUED = re.compile(
    r"(?:and|or|to|over|by|point|times|through) (?:(?:an?|the) )?"
    rf"(?:{NUMERAL}|{'|'.join([*PARTS, *CONSTANTS])})s?\b"
    rf"|(?:and|or|(?:up )?to|(?:out )?of|over|by|per|through|thru|{_MORE} than) {_VARIABLE}"
    r"|(?:to|through|thru) (?:[b-z]\b(?!['’])|[-+$( ]{0,3}[∞\\])"
    rf"|to the {LETTER}|per mill?e?\b|per (?:hundred|thousand|million)\b"
    rf"|times (?:{LETTER}\b(?! {LETTER}{{2}})|[(\\$])",
    re.IGNORECASE,
)
# A second number in words, behind up to two words of a unit, and bounds.
_UNIT = rf"(?:(?!of\b|to\b|in\b){LETTER}{{2,20}},? ){{0,2}}"
_COMPOUND = re.compile(
    rf"{_UNIT}(?:(?:and|or|&|plus|minus|less|to|till?|until|past|by|over|times|through) )?"
    rf"(?:(?:an?|the) (?={_NUMBER_WORD}))?{_NUMBER_WORD}\b(?! of\b|-(?!{COUNT}\b){LETTER})"
    rf"|(?:percent )?(?:(?:out )?of|in|per|from|with|than|every)(?: every)? (?:an? )?"
    rf"{_NUMBER_WORD}\b"
    rf"|{_UNIT}(?:at (?:least|most)|(?:and|or) {_BEYOND}|(?:max|min)imum|below)\b"
    rf"|{_UNIT}and an? (?:{MEASURES})\b"
    rf"|or (?!so\b|thereabouts\b)|{LETTER}{{2,20}}ed by\b|(?:in )?{_BASE}\b",
    re.IGNORECASE,
)
_VARIABLES = re.compile(r"(?!by\b)[a-cx-z]{2}\b")

_OPERAND = re.compile(r"(?:[\d)\]]|(?<![A-Za-z])[A-Za-z])\Z")
_OPERATORS = frozenset(["+", "*", "**", "/", "^", "×", "÷", "·", "⋅", "∙", "-", "--"])
_OPERAND_AND_OPERATOR = re.compile(r"(?:[\w)\]}|][+/^×÷·⋅∙±-]|[\d)]\*|[0-9][eE][-+]?)\Z")
_OPERATOR_AT_END = re.compile(
    r"[\w)\]}$] (?:[+*/^]|\*\*)\Z|(?:\A|[ =:([{$])-\Z|[\w)\]}][+/^]\Z|[×÷·⋅∙√∛∜±∓]\Z"
    rf"|\\(?:times|cdot|div|pm|mp|{'|'.join(FUNCTIONS)})\Z"
)
# A quantity at the end of a line, `5 hours`, or one with a comma, may have its other part below.
_MORE_BELOW = re.compile(rf"\d(?: ?{LETTER}{{1,20}}[,;]?|[,;])\Z")
_NUMBERED = re.compile(rf"(?:[0-9]|(?<![\w'’]){COUNT})\Z", re.IGNORECASE)
_LABEL = re.compile(
    r"\b(?:answer|case|day|item|line|no|part|problem|q|question|round|step|week|year)\.? \d+:\Z",
    re.IGNORECASE,
)
_TAG = re.compile(r"<{1,2}[^<>]{1,80}>{1,2}\Z")
_KEY = re.compile(r"[\"']\s{0,9}:\s{0,9}[\"']?[-+]?\Z")
_SAID = re.compile(r"[A-Za-z]{2,}")


def goes_on(after: str) -> bool:
    """Whether what follows a number makes another one of it, or a part of an expression."""
    line = _WRAPPED.sub(" ", after).partition("\n")[0]
    if line[:1] != "\u20e3" and unicodedata.category(line[:1] or " ").startswith("M"):
        return True  # a line over a digit repeats it; the frame of an emoji says nothing
    if _GOES_ON.match(line) or _RESUMED.match(line):
        return True
    if _DIVIDED.match(line):
        unit = _PER.match(line)
        return unit is None or unit[1].lower() in NOT_BEHIND
    gap = _GAP.match(line)
    assert gap is not None, "it matches nothing, too"
    if _operates(line[gap.end() :]):
        return True
    word = _WORD.match(line, gap.end())
    return word is not None and not _is_unit(word[0], gap[0], line[gap.end() :])


def _operates(text: str) -> bool:
    """Whether a text begins with a sign of mathematics that takes what stands before it."""
    first = text[:1] or " "
    return unicodedata.category(first) == "Sm" and first not in _RELATIONS


def _is_unit(word: str, gap: str, rest: str) -> bool:
    """Whether the word behind a number leaves it what it is."""
    if is_wide(word[0]):
        return True
    if rest[len(word) : len(word) + 1] in ("(", "^"):
        return False
    if not set(gap) & set(" \u00a0~-"):
        return word in GLUED
    if len(word) == 1:
        return bool(_SHORT_WORD.match(rest)) or (word in LETTERS and "-" not in gap)
    if not is_unit_word(word) or COUNTED.match(rest) or _VARIABLES.match(rest):
        return False
    return not (_CONTINUED.match(rest) or _COMPOUND.match(rest))


def sign_of(before: str, core: str) -> str | None:
    """The sign of the number `core` behind `before`; None where it is part of something else."""
    above, _, line = before.rpartition("\n")
    line = re.sub(r"([(\[{])[ \u00a0]+", r"\1", line)
    match = _SIGN.search(line)
    assert match is not None, "it matches nothing, too"
    sign, rest = match[1] or match[3], line[: match.start()]
    bare = rest.rstrip(_OPEN)
    if (match[1] and match[3]) or not stands_alone(rest, core):
        return None
    if not bare.strip():
        return None if _is_open(above.rstrip()) else sign
    if bare[-1] in " \u00a0":
        return _sign_behind(bare.replace("\u00a0", " "), core, sign, between=rest[len(bare) :])
    if bare.endswith(("...", "…")):
        return None if bare.rstrip(".… ")[-1:].isdecimal() else sign
    if _compares(bare):
        return None
    if bare[-1] == ":":
        return None if bare[-2:-1].isdecimal() else sign
    return sign if bare[-1] in _SAFE or bare[-1] == ">" or is_wide(bare[-1]) else None


def _compares(before: str) -> bool:
    """Whether the text ends with a sign of inequality, which arrows and tags are not."""
    if before.endswith(">"):
        return not (before.endswith(("->", "=>")) or _TAG.search(before))
    return before.endswith(("<", "<=", ">=", "!=", "/=", "+=", "-=", "*=", "≠", "≤", "≥"))


def _sign_behind(before: str, core: str, sign: str, *, between: str) -> str | None:
    """As `sign_of`, of a number with a space before it and before what is `between` them."""
    words = before.rstrip()
    word = words.rpartition(" ")[2]
    rest = words[: len(words) - len(word)].rstrip()
    if word.endswith("-"):
        # At the start of a line it marks an item, behind a word it is a pause, behind a number it
        # subtracts.
        return "-" if not (sign or between) and _opens(words[:-1].rstrip()) else None
    if word.endswith(("\u2014", "\u2015")):
        return None  # a longer dash is a pause, or a minus
    if "\\" in word or (rest and word in _OPERATORS) or _OPERAND_AND_OPERATOR.search(word):
        return None
    if (
        _compares(words)
        or _operates(word[-1:])
        or word[-1:] in tuple("√∛∜±∓")
        or re.fullmatch(rf"-{LETTER}+", word)
    ):
        return None
    if re.search(r"\d:\Z", word) and not _LABEL.search(words):
        return None
    opened = word.rstrip(_MARKUP)
    if sign and _OPERAND.search(opened):
        return None
    if re.search(rf"(?:\A|[^\w'’.]){LETTER}\Z", f" {opened}") and opened[-1:] not in tuple("aAI"):
        return None if (not between or between[-1] == "(") and not is_wide(opened[-1]) else sign
    if re.search(r"[0-9]\)?\Z", opened) and "(" in between:
        return None  # a product
    if _NUMBERED.search(opened) and not between:
        return None  # thousands, or two numbers
    return sign


def _is_open(above: str) -> bool:
    """Whether the text up to a line's end takes what follows: `2 *`, `x >`, `minus`, `half of`."""
    line = above.rpartition("\n")[2].replace("\u00a0", " ")
    return bool(
        _OPERATOR_AT_END.search(line)
        or _compares(line)
        or _operates(line[-1:])
        or _MORE_BELOW.search(line)
        or (line[-1:] != "." and takes(line))
    )


def _opens(before: str) -> bool:
    """Whether a minus with a space behind it is a sign here: a `$` opens a formula or closes it."""
    if not before or before[-1] not in _MINUS_AFTER:
        return False
    if before[-1] == "$":
        first = before.rstrip("$")
        return first.count("$") % 2 == 0 and (not first or first[-1] in " =:([{")
    if before[-1] in "([{":
        return not before[:-1] or before[-2] in f" {_MINUS_AFTER}"
    return not _compares(before)


def in_brackets(before: str, after: str) -> bool:
    """Whether a number lies in brackets with others: in a tuple, an interval, a call, a remark."""
    if re.search(r"<[^<>]*,\s*\Z", before) and re.match(r"\s*>", after):
        return True
    closing = re.search(r"[()\[\]{}]", after)
    if closing is None or closing[0] not in ")]}":
        return False
    depth = 1
    for place in range(len(before) - 1, -1, -1):
        depth += (before[place] in ")]}") - (before[place] in "([{")
        if depth == 0:
            return _holds_more(before[:place], before[place + 1 :], after[: closing.start()])
    return False


def _holds_more(outside: str, before: str, after: str) -> bool:
    """Whether brackets that are opened behind `outside` hold more than one number and words."""
    if re.search(r"\d", before.rpartition("=")[2]) or re.search(r"[\w^]\Z", outside):
        return True
    pieces = re.split("[,;|]", f"{before} 0 {after}")
    if len(pieces) == 1 or _KEY.search(before):
        return False
    said = [set(map(str.lower, _SAID.findall(piece))) - NOT_BEHIND for piece in pieces]
    return any(not (words or " 0 " in piece) for piece, words in zip(pieces, said, strict=True))
