r"""What stands beside a number: whether that leaves it a number of its own, and which sign it has.

Behind a number may stand a word of two letters or more (`5 apples`, `5-year`) that is neither a
number, nor a scale, nor a part, nor the name of a function or a constant; one of the letters in
`_LETTERS`, behind a space (`5 m`); and one of `_GLUED` without one (`5kg`). Any other letter may be
a factor. A scale, a part or a calculation counts behind a comma or a line's end as well.
"""

from __future__ import annotations

import re
import unicodedata

_CURRENCIES = "USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|SEK|NOK|DKK|KRW|BRL|MXN|RUB|PLN|TRY|ZAR"
_SIGN = re.compile(
    rf"([-+]?)((?:[A-Z]{{1,3}})?[$€£¥₹¢][ \u00a0]?|(?:{_CURRENCIES})[ \u00a0]|)([-+]?)\Z"
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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SCALES = _words(
    "hundred thousand million billion trillion quadrillion quintillion sextillion septillion "
    "milliard billiard lakh lac crore myriad dozen gross score mil mill mln mio mn bil bln bn mrd "
    "tril trn tn googol"
)
_COUNTS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
    "ninety"
)
_PARTS = _words(
    "half third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth "
    "fiftieth sixtieth seventieth eightieth ninetieth hundredth thousandth millionth billionth"
)
_FUNCTIONS = _words(
    "sin cos tan cot sec csc arcsin arccos arctan asin acos atan sinh cosh tanh log ln lg lb exp "
    "sqrt cbrt root abs mod modulo det gcd lcm min max floor ceil factorial"
)
_CONSTANTS = _words(
    "pi tau phi theta alpha beta gamma delta epsilon zeta eta kappa lambda mu nu xi rho sigma "
    "omega psi chi inf infty infinity"
)
_CALCULATED = _words("plus minus over divided multiplied squared cubed raised choose")
_CHANGED = _words("squared cubed doubled tripled halved repeating recurring")
# Behind a number these are units first.
_UNITS_TOO = {"sec", "min", "max"}
_NOT_BEHIND = (
    {*_SCALES, *(f"{each}s" for each in _SCALES), *_PARTS, *(f"{each}s" for each in _PARTS)}
    | {"halves", *_FUNCTIONS, *_CONSTANTS, *_CALCULATED, *_CHANGED}
) - _UNITS_TOO
_LETTERS = frozenset("mgshlLAVWJNCF")
"""Units of one letter. Not among them: k, K, M, B, T, which are scales, and t, d, b, n, which are
variables as well."""
_GLUED = frozenset(
    _words(
        "km cm dm mm kg mg ml mL cl dl kl ms hr hrs min mins sec secs lb lbs ft in oz yd mi mph "
        "kph kmh bps rpm Hz kHz MHz GHz kB KB MB GB TB kW MW kWh kJ kN kPa Pa kcal cal am pm AM PM "
        "st nd rd th px pt pts yr yrs ppm USD EUR GBP µm μm"
    )
)
_LETTER = r"[^\W\d_]"
_NUMERAL = rf"(?:{'|'.join([*_COUNTS, *_SCALES, 'half'])})"
_COUNT = rf"(?:{'|'.join(_COUNTS)})"
# A number in letters, but for the first part of a word: 5 ten-dollar bills.
_COUNTED = re.compile(rf"{_COUNT}\b(?!-(?!{_COUNT}\b){_LETTER})", re.IGNORECASE)
_VARIABLE = rf"[$*_`( ]{{0,4}}{_LETTER}\b(?! {_LETTER}{{2}}|['’]|\.{_LETTER})"
# Words that are more than a scale (a gross income) are none on their own.
_SCALE = rf"(?:{'|'.join(each for each in _SCALES if each not in ('gross', 'score'))})"
# A line that begins so goes on with the line before: with a small letter, a scale, or a sign that
# marks no item of a list.
_WRAPPED = re.compile(
    r"[ \u00a0]{0,40}\n\s*(?=(?:[$`_({ ]|\*{1,3}(?! )){0,9}"
    rf"(?:[a-z]{{2}}|a |(?i:{_SCALE})s?\b(?! of\b)"
    r"|(?:[A-Za-z]|[万萬亿億百十千兆만억천조백])[^\w\n]*(?:\n|\Z))"
    r"|\\(?:times|cdot|div|pm|mp|[lc]?dots|pi)(?![a-zA-Z])|[\^±∓×÷⋅√π²³]"
    r"|[-+*/] ?[A-Za-z][^\w\n]*(?:\n|\Z))"
)
_GAP = re.compile(r"[)\]}{\"'”’“»*_`$~ \u00a0-]{0,40}")
_WORD = re.compile(rf"{_LETTER}+")
# Behind a number, these make another of it: a scale, or an operator with what it takes.
_GOES_ON = re.compile(
    r"[)\]}{\"'”’“»*_`$~ \u00a0]{0,40}"
    r"(?:[万萬亿億百十兆만억천조백半割折]|千(?![克米瓦])"
    r"|[\^±∓×÷·⋅∙∗²³¹⁰⁴-⁹⁻ⁿⁱ₀-₉√∛∜π‰‱∞≤≥≠])"
    r"|[)\]}]{0,9} ?\\|[)\]}\"'*_`$]{0,9}[ \u00a0]?[<>]="
    r"|[)\]}]{0,9}\(|[)\]}*$`]{0,9}\+|\*{1,2}[\w(]|_\w"
    r"|[)\]}*_`$]{0,9} [+*/<>] [\w(\\]|<[A-Za-z](?:[\s.,$)]|\Z)"
    rf"|[)\]}}*_`$]{{0,9}} ?\( ?(?:{'|'.join([*_SCALES, *_CHANGED])})s?\b"
    rf"|[)\]}}*_`$]{{0,9}} ?\( ?{_LETTER} ?[-+*/^]"
    rf"|[)\]}}*_`$]{{0,9}} ?: ?{_LETTER}\b(?! {_LETTER})"
    rf"|[)\]}}*_`$]{{0,9}} ?- ?\( ?{_LETTER}\b"
    r"|[)\]}*_`$ -]{0,9}(?:st|nd|rd|th)[)\]}*_`$]{0,9}[ -](?:[a-z]{1,20} )?(?:roots?|powers?)\b"
    r"|[)\]}*_`$]{0,9} (?:square|cube|cubic) roots?\b"
    rf"|[)\]}}*_`$]{{0,9}} ?(?:%|percent) of {_VARIABLE}",
    re.IGNORECASE,
)
# Behind the end of a clause; behind that of a sentence a capital begins another one.
_RESUMED = re.compile(
    r"[)\]}\"'”’“»*_`$ \u00a0]{0,40}(?:[,;—、]|[.:!?…。]{1,3}(?!\s*(?-i:[A-Z])))"
    rf"[\"'*_`$({{ \u00a0]{{0,9}}(?:{_SCALE}(?:\b|s\b(?! of\b))|(?:{'|'.join(_CHANGED)})\b"
    rf"|and (?:an?|{_NUMERAL}) (?:{'|'.join(_PARTS)})s?\b(?! of\b)"
    rf"|(?:(?:divided|multiplied) by|raised to)\b|(?:plus|minus|over|times|choose) {_VARIABLE})",
    re.IGNORECASE,
)
_DIVIDED = re.compile(r"[)\]}*_`$]{0,9} ?/")
_PER = re.compile(rf"[)\]}}*_`$]{{0,9}}/({_LETTER}{{2,}})")
_SHORT_WORD = re.compile(r"[aAI] [A-Za-z]{2}|[A-Za-z]\.[A-Za-z]\.")  # 5 a day, 5 p.m.
_MORE = "(?:more|less|fewer|greater|larger|smaller|higher|lower)"
_CONTINUED = re.compile(
    r"(?:and|or|to|over|by|point|times|through) (?:(?:an?|the) )?"
    rf"(?:{_NUMERAL}|{'|'.join([*_PARTS, *_CONSTANTS])})s?\b"
    rf"|(?:and|or|(?:up )?to|(?:out )?of|over|by|per|through|thru|{_MORE} than) {_VARIABLE}"
    r"|(?:to|through|thru) (?:[b-z]\b(?!['’])|[-+$( ]{0,3}[∞\\])"
    rf"|to the {_LETTER}|per mill?e?\b|per (?:hundred|thousand|million)\b"
    rf"|times (?:{_LETTER}\b(?! {_LETTER}{{2}})|[(\\$])",
    re.IGNORECASE,
)
_VARIABLES = re.compile(r"(?!by\b)[a-cx-z]{2}\b")

_OPERAND = re.compile(r"(?:[\d)\]]|(?<![A-Za-z])[A-Za-z])\Z")
_OPERATORS = frozenset(["+", "*", "**", "/", "^", "×", "÷", "·", "⋅", "∙", "-", "--"])
_OPERAND_AND_OPERATOR = re.compile(r"(?:[\w)\]}|][+/^×÷·⋅∙±-]|[\d)]\*|[0-9][eE][-+]?)\Z")
_OPERATOR_AT_END = re.compile(
    r"[\w)\]}$] (?:[+*/^]|\*\*)\Z|(?:\A|[ =:([{$])-\Z|[\w)\]}][+/^]\Z|[×÷·⋅∙√∛∜±∓]\Z"
    rf"|\\(?:times|cdot|div|pm|mp|{'|'.join(_FUNCTIONS)})\Z"
)
_NUMBERED = re.compile(rf"(?:[0-9]|(?<![\w'’]){_COUNT})\Z", re.IGNORECASE)
_CALLED = re.compile(
    rf"(?<![A-Za-z])(?:{'|'.join([*_FUNCTIONS, *_CALCULATED])}|negative"
    r"|times|not|twice|double|triple|half|(?:is|was|are|were|does|do)n['t]{1,2})(?:[₀-₉]{1,9}|⁻¹|_\w{1,9}|_\{\w{1,9}\})?\Z",
    re.IGNORECASE,
)
# What is done with a number that follows, in words, and ranges and shares that end with it.
_DONE_WITH = re.compile(
    r"\b(?:roots?|log|logarithm|sine|cosine|tangent|square|cube|power|reciprocal|inverse|opposite"
    rf"|negative|factorial|double|triple|(?:{'|'.join(_PARTS)})s?) of\Z"
    r"|\b(?:(?:divided|multiplied) by|raised to|to the(?: power(?: of)?)?)\Z"
    rf"|(?:\d[{re.escape(_CLOSING)}]{{0,6}}|\b{_NUMERAL}) "
    r"(?:(?:up )?to|through|thru|in|per|by|of|out of|point|x|X|:|~)\Z"
    rf"|\b(?!gross|score)(?:{'|'.join(_SCALES)})s?(?: and)?\Z",
    re.IGNORECASE,
)
# Up from a variable: n to 5. But what is set to 5 is 5.
_UP_FROM = re.compile(
    r"(?P<set>\b(?:set|chang|round|rais|reduc|increas|decreas|equat|assign)\w{0,8} [$*_`(]{0,4})?"
    rf"(?<![\w'’]){_LETTER}[{re.escape(_CLOSING)}]{{0,6}} (?:(?:up )?to|through|thru|per)\Z",
    re.IGNORECASE,
)
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
        return unit is None or unit[1].lower() in _NOT_BEHIND
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
        return word in _GLUED
    if len(word) == 1:
        return bool(_SHORT_WORD.match(rest)) or (word in _LETTERS and "-" not in gap)
    if word.lower() in _NOT_BEHIND or _COUNTED.match(rest) or _VARIABLES.match(rest):
        return False
    return _CONTINUED.match(rest) is None


def sign_of(before: str, core: str) -> str | None:
    """The sign of the number `core` behind `before`; None where it is part of something else."""
    above, _, line = before.rpartition("\n")
    line = re.sub(r"([(\[{])[ \u00a0]+", r"\1", line)
    match = _SIGN.search(line)
    assert match is not None, "it matches nothing, too"
    sign, rest = match[1] or match[3], line[: match.start()]
    bare = rest.rstrip(_OPEN)
    if match[1] and match[3]:
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
    if "\\" in word or (rest and word in _OPERATORS) or _OPERAND_AND_OPERATOR.search(word):
        return None
    if (
        _compares(words)
        or _operates(word[-1:])
        or word[-1:] in tuple("√∛∜±∓")
        or re.fullmatch(rf"-{_LETTER}+", word)
    ):
        return None
    bare = words.rstrip(_CLOSING)
    if _is_done_with(bare) or _DONE_WITH.search(words):
        return None
    if re.search(r"\d:\Z", word) and not _LABEL.search(words):
        return None
    opened = word.rstrip(_MARKUP)
    if sign and _OPERAND.search(opened):
        return None
    if re.search(rf"(?:\A|[^\w'’.]){_LETTER}\Z", f" {opened}") and opened[-1:] not in tuple("aAI"):
        return None if (not between or between[-1] == "(") and not is_wide(opened[-1]) else sign
    if re.search(r"[0-9]\)?\Z", opened) and "(" in between:
        return None  # a product
    if _NUMBERED.search(opened) and not between:
        return None  # thousands, or two numbers
    return sign


def _is_open(above: str) -> bool:
    """Whether the text up to a line's end takes what follows: `2 *`, `x >`, `minus`, `half of`."""
    line = above.rpartition("\n")[2].replace("\u00a0", " ")
    bare = line.rstrip(_CLOSING)
    return bool(
        _OPERATOR_AT_END.search(line)
        or _compares(line)
        or _operates(line[-1:])
        or _is_done_with(bare)
    )


def _is_done_with(before: str) -> bool:
    """Whether words at the end of a text do something with the number that follows."""
    up_from = _UP_FROM.search(before)
    return bool(
        _CALLED.search(before)
        or _DONE_WITH.search(before)
        or (up_from is not None and not up_from["set"])
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


def is_wide(character: str) -> bool:
    """Letters of scripts that put no space between words."""
    code = ord(character)
    return character.isalpha() and code >= 0x2E80 and not 0x1D400 <= code < 0x1D800


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
    said = [set(map(str.lower, _SAID.findall(piece))) - _NOT_BEHIND for piece in pieces]
    return any(not (words or " 0 " in piece) for piece, words in zip(pieces, said, strict=True))
