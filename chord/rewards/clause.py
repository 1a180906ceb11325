r"""What is said before a number: whether the number stands for itself there.

Two rules. First, of two numbers in a sentence the last one counts only where what is between them
makes a statement of it: a sign of equality, a colon, a verb or a subject. `1 hour 30 minutes`,
`5 and 3/4` and `3 remainder 5` have none of these. Second, the word directly before the number is
not one that takes it as a part of something else: a conjunction, a preposition such as `by` or
`than`, a sign in words, a function, a multiple, a bound or a label. `of` and `to` are read in the
few phrases that name a value: `a total of 5`, `comes to 5`.
"""

from __future__ import annotations

import re

from chord.rewards.words import (
    CALCULATED,
    COUNT,
    COUNTED,
    FUNCTIONS,
    LABELS,
    LETTER,
    MEASURES,
    MONTHS,
    SCALE,
    numeral,
    words,
)

# What sets a text and says nothing.
_SETS = re.compile(r"[*_`$\"“”„«»{}\[\]\u00a0]|(?<![A-Za-z])['‘’]|['‘’](?![A-Za-z])")
_ANNOTATED = re.compile(r"<{1,2}[^<>\n]{1,80}>{1,2}")  # <b>, <<9*2=18>>
# A sentence ends, and another one begins, before the number.
_NEXT = re.compile(r"[.!?…]['\")*_]{0,4}\s+(?=[\"'“(*_$\\]{0,4}[A-Z])|[。！？；]")
_ITEM = re.compile(
    rf"[\s#>|(*_+•–-]*(?:(?:{LABELS}|week|day|year|no|item|answer)\.? )?"
    r"\(?[0-9]{1,3}(?:[.):]\*{0,2}|\*\*[.):])(?:\s|\Z)",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"\d|(?<![\w'’])(?:{COUNTED.pattern}|{SCALE}s?\b|half\b)", re.IGNORECASE)
# What is between two numbers makes a statement of the second one: verbs and subjects, and signs.
_STATES = frozenset(
    words(
        "is are was were be been being am has have had having will would can could shall should "
        "must may might do does did he she they we it you so thus therefore hence that's it's "
        "there's equal equals equaled make makes made making give gives gave giving leave leaves "
        "leaving get gets got getting cost costs pay pays paid earn earns earned need needs needed "
        "take takes took spend spends spent save saves saved sell sells sold buy buys bought eat "
        "eats ate become becomes became remain remains remained total totals yield yields mean "
        "means contain contains say says said answer result results"
    )
)
_WIDE_STATES = re.compile("[是为為有共得剩は]|等于|等於")
_EQUALS = re.compile(r"[=≈≃≅≡→⇒⟹⟶➔➜∴]|->")
_COLON = re.compile(r"[^\W\d_]\)?[:：](?:\s|\Z)")
_REMAINDER = re.compile(r"(?<![A-Za-z])(?:r|rem|remainder|mod|modulo)(?![A-Za-z])", re.IGNORECASE)
# x = 2, y = 3: two solutions. But 2x = 24, x = 12 is one.
_SOLVED = re.compile(rf"(?:\A|[^\w)+*/^-])(?:[a-z]+ )?{LETTER}(?:_?\d)? ?= ?[-+±]?[\d.,/]*\Z")
_ANOTHER = re.compile(rf" ?(?:[,;&]|and)+ ?(?:and )?{LETTER}(?:_?\d)? ?= ?[-+]?\Z")
_RESTATED = re.compile(rf"(?:[a-z]+[- ])?{COUNT}(?=[\s(:,=]*\Z)", re.IGNORECASE)
# The word before these is the one that counts.
_PASSED = re.compile(
    r"(?:\b(?:about|approximately|approx|around|roughly|exactly|only|just|the|an?|some|maybe|"
    r"perhaps|even|also|another|possibly|probably)\.? )+\Z",
    re.IGNORECASE,
)
_SUBSCRIPT = r"(?:[₀-₉]{1,9}|⁻¹|_\w{1,9}|_\{\w{1,9}\})?"
# They take a number that follows, also behind a colon or a comma.
_JOINS = re.compile(
    r"(?:(?<![A-Za-z])(?:and|or|but|nor|either|neither|both|plus|minus|negative|neg|negated|times|not"
    r"|never|cannot|than|under|over|above|below|beneath|beyond|exceed(?:s|ed|ing)?|until|till"
    r"|within|least|most|almost|nearly|barely|without|except|excluding|less|by|per|every)|&)\Z",
    re.IGNORECASE,
)
_TAKES = re.compile(
    rf"(?<![A-Za-z])(?:(?:{'|'.join([*FUNCTIONS, *CALCULATED])}"
    r"|twice|thrice|double|triple|treble|[a-z]{2,8}uple|half|fewer|add|subtract|past|maximum"
    r"|minimum|tak(?:e|es|en|ing) away|between|among|from|versus|vs|through"
    r"|thru|base|radix|power|exponent|degree)"
    rf"{_SUBSCRIPT}|{LABELS}|{MONTHS})\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:\b(?:not|never|cannot)|n['’]t)(?: [\w'’]+){0,3}\Z", re.IGNORECASE)
_AS_MANY_AS = re.compile(r"\bas [a-z]+ as\Z", re.IGNORECASE)
_KINDS = "total|final|net|gross|grand|combined|overall|average|mean"
_VALUE_OF = re.compile(
    rf"\b(?:total|(?:an?|{_KINDS}) (?:(?:{_KINDS}) )?(?:total|sum|value|amount|answer|result|count"
    r"|number|score|average|mean|cost|price|profit|distance|length|width|height|area|volume|weight"
    r"|mass|age|speed|rate|temperature|population|balance|salary|discount)) of\Z",
    re.IGNORECASE,
)
_VALUE_TO = re.compile(
    r"\b(?:(?:add|sum)(?:s|ed)? up|(?:adds|sums)|(?<!or )equals?|(?<!or )equivalent|amounts?"
    r"|(?:come|came|work)s?(?: out)?"
    r"|(?:simplif|reduc|evaluat|round|sett?|chang|increas|decreas|equat|assign|converg|ris|ros"
    r"|dropp?|fall|fell|bring|brought)(?:e?s|ed|e|ing|ies|ied|y)?(?: (?!up )\w{1,12}){0,2}) to\Z",
    re.IGNORECASE,
)
_LISTED = re.compile(rf"(?:\A|[\s(]){LETTER} ?[,;]\Z")
_SCALED = re.compile(rf"\b(?:{SCALE}s?|\w+illi(?:on|ard)s?)\Z", re.IGNORECASE)
_A_UNIT = re.compile(rf"\ban? (?:{MEASURES})\Z", re.IGNORECASE)
# Scripts without spaces: what may stand directly before a number.
_WIDE = re.compile(
    r"(?:(?<![不非没沒因])(?:是|为|為|有|共|得|要)|约|約|了|剩下?|(?<!不)(?:等于|等於)|[はが은는이가])\Z"
)


def stands_alone(before: str, core: str) -> bool:
    """Whether the number `core` stands for itself behind `before`, without its sign and currency.

    >>> stands_alone("5 apples are red, so there are ", "3")
    True
    >>> stands_alone("5 hours ", "30"), stands_alone("at least ", "5")
    (False, False)
    """
    sentence = _last_sentence(before)
    return _is_stated(sentence, core) and not takes(sentence)


def takes(text: str) -> bool:
    """Whether the words at the end of a text make something else of a number that follows."""
    said = _PASSED.sub("", _bare(text).rstrip(" .(") + " ").rstrip(" .(")
    if re.search(r"\bof\Z", said, re.IGNORECASE):
        return _VALUE_OF.search(said) is None
    if re.search(r"\bto\Z", said, re.IGNORECASE):
        return _VALUE_TO.search(said) is None or _DENIED.search(said) is not None
    if said and is_wide(said[-1]):
        return _WIDE.search(said) is None
    behind = said.rstrip(" .,:;(")
    return bool(
        _JOINS.search(behind)
        or _A_UNIT.search(behind)
        or any(each.search(said) for each in (_TAKES, _DENIED, _AS_MANY_AS, _SCALED, _LISTED))
    )


def exclaims(before: str, behind: str) -> bool:
    """Whether `!` behind a number ends a sentence: elsewhere it is a factorial.

    It does so behind a word and the number, at the end of a line or before a capital letter.
    """
    found = re.match(
        r"[*_`$\"'”’]{0,6}(!{1,3})([\"'”’*_]{0,4})(?:[ \u00a0]*(?:\n|\Z)|\s+(?=[A-Z]))", behind
    )
    word = re.search(r"[^\W\d_]{2,}[*_` \u00a0$€£¥₹¢+-]{1,6}\Z", before)
    return found is not None and word is not None


def is_wide(character: str) -> bool:
    """Letters of scripts that put no space between words."""
    code = ord(character)
    return character.isalpha() and code >= 0x2E80 and not 0x1D400 <= code < 0x1D800


def _last_sentence(before: str) -> str:
    line = _ANNOTATED.sub("", before.rpartition("\n")[2])
    starts = [found.end() for found in _NEXT.finditer(line)]
    return _bare(_ITEM.sub("", line[starts[-1] if starts else 0 :], count=1))


def _bare(text: str) -> str:
    return re.sub(r"\s+", " ", _SETS.sub(" ", text))


def _is_stated(sentence: str, core: str) -> bool:
    """Whether no other number stands before this one in its sentence, or a statement between."""
    end = max((found.end() for found in _NUMBER.finditer(sentence)), default=None)
    if end is None:
        return True
    said, gap = sentence[:end], sentence[end:]
    restated = _RESTATED.search(sentence)
    if restated is not None:
        return core == str(numeral(restated[0]))
    spoken = re.findall(r"[a-z]+(?:['’][a-z]+)?", gap.lower().replace("’", "'"))
    if "or" in spoken or "或" in gap:
        return False
    if _EQUALS.search(gap):
        return not (_SOLVED.search(said) and _ANOTHER.match(gap))
    if _COLON.search(gap):
        return _REMAINDER.search(gap) is None
    return not _STATES.isdisjoint(spoken) or _WIDE_STATES.search(gap) is not None
