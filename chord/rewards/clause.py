r"""The few forms of a sentence that state a number: what may stand before it and behind it.

Everything that is not listed here makes something else of a number, or may do so. Before a number
stands nothing; or an equation, up to its `=` or `≈`; or words and a colon (`Total cost: 5`); or
words that end with a verb such as `is`, `has` or `costs`, with or without `about` and its like, and
that state no other number in the same way. Behind it stands nothing, or a unit, and at most
nine more words; none of these is a number, a scale, a part, a bound, a negation, a conjunction or
the beginning of another statement. Then the sentence ends.
"""

from __future__ import annotations

import re

from chord.rewards.answers import HEADING
from chord.rewards.words import (
    AMOUNTS,
    COMBINES,
    COMPARES,
    CONDITIONS,
    COUNTS,
    CURRENCIES,
    DOUBTS,
    HEDGED,
    HEDGES,
    INTRODUCES,
    JOINS,
    KINDS,
    LABELS,
    LETTERS,
    MONEY,
    NOT_BEFORE,
    NOT_BEHIND,
    NOT_DIRECTLY_BEFORE,
    NUMERALS,
    PER,
    RETRACTS,
    UNITS,
    WANTS,
    changes,
)

_WORD = r"[A-Za-z]+(?:['’-][A-Za-z]+)*['’]?"
_WORDS = re.compile(_WORD)
_MOST_WORDS = 9
_POWER = r"(?: ?[²³])?"
_UNIT = rf"(?: {{0,3}}(?:{UNITS})| {{1,3}}[{LETTERS}]){_POWER}(?:/(?:{UNITS}|[{LETTERS}]){_POWER})?"
_ENDS = re.compile(
    rf"(?: ?(?P<sign>%|°(?: ?[CF]\b)?|[$€£¥₹]|(?:{CURRENCIES})\b)|(?P<unit>{_UNIT})(?![\w-])|"
    rf"(?P<per>/(?:{PER})\b))?"
    rf"(?P<words>(?: {{1,3}}(?!or so\b){_WORD}){{0,{_MOST_WORDS}}})(?: or so)?"
    r" {0,3}(?P<stop>[.!]?) {0,3}\Z"
)
# A sentence ends, and another one begins, before the number.
_SENTENCE = re.compile(r"[.!?] +(?=[A-Z])|[。！？]")
_ITEM = re.compile(r"\A *(?:[-*•>#]+ +)?(?:(?:[A-Z][a-z]+ )?\(?\d{1,3}[.):] +)?(?=[A-Z])")
_SO = re.compile(
    r"(?:\A|[,;.:]) *(?:so|So|therefore|Therefore|thus|Thus|hence|Hence)(?![\w'’-]),? +(?=\S)"
)
_EQUATION = re.compile(r"(?P<left>[^<>≤≥≠?]*?) ?(?:={1,2}|≈) ?\Z")
_SIDE = re.compile(r"(?:[\w)\]|%°}'²³]|(?<=[\d)])!)\Z")
_CALCULATION = re.compile(r"[\d\s.+\-*/×÷·⋅()%$€£=^]+")
_COLON = re.compile(r"[^\d:=]*(?:[A-Za-z]{2}|[A-Za-z]\))\"? ?: ?\Z")
_OF = rf"(?:an? )?(?:(?:{KINDS}) )?(?:{AMOUNTS}) of"
_TO = r"(?:comes?|came|amounts?|adds up|sums up|works out|simplifies|evaluates|reduces) to"
_VERB = re.compile(
    rf"[^:=<>*^\\]*(?<![\w'’-])(?:{INTRODUCES}|{_TO})(?: (?:{HEDGES}|equal to))?(?: {_OF})?"
    r" {1,3}\Z"
)
_NUMBERS = re.compile(rf"[$€£¥₹]?\d|\b(?:{'|'.join(COUNTS)})\b", re.IGNORECASE)
# What takes place several times, and what says how much more something is than something else.
_REPEATED = re.compile(r"[A-Za-z] times\b")
_DIFFERS = re.compile(
    r"\b(?:more|extra|additional)\b|\A times (?:as|the|that|what|this|these|those|h(?:is|ers?)|my"
    r"|our|your|their|its)\b"
)
_HEDGED = re.compile(rf" {{0,3}}(?:(?:{HEDGES}),? {{1,3}})?\Z")
_QUESTION = re.compile(r" *(?:Is|Are|Was|Were|Does|Do|Did|Can|Could|Would|Should|Will|Has|Have)\b")
_CLOSED = re.compile(r"(?:[.!?)\]0-9%$]|[A-Za-z)]:|</[a-z]{1,20}>)[*_`\"$ ]{0,9}\Z")
_OF_THE = re.compile(r"\bof (?:the|our|this|my|your) ?\Z")
_NEAR = 200
_SUPPOSED = re.compile(
    r"\b(?:used to|should have|could (?:be|have)|would(?: have|['’]ve) been|may (?:be|have))\b"
    r"|(?<!\bI )(?<!\b[Ww]e )\b(?:think|believe)s?\b"
    r"|\b[Ll]et\b[^,;:]*\Z"
    r"|(?:\A|[,;:]) *(?:(?:Now|First|Next|Then),? )?"
    r"(?i:take|try|consider|substitute|plug|check|choose|pick)\b[^,;:]*\Z"
)
# Directly before a variable: for x = 5.
_TRIED = re.compile(
    r"(?i:\b(?:tak(?:e|ing)|say|try(?:ing)?|consider(?:ing)?|set(?:ting)?|test(?:ing)?"
    r"|substitut(?:e|ing)|check(?:ing)?|plug(?:ging)?(?: in)?|put(?:ting)?|choos(?:e|ing)"
    r"|pick(?:ing)?|for|at|with|using|where)):? +[A-Za-z](?:_?\w)?\Z"
)
# What may stand before "answer" in its sentence where the sentence states it.
_LEAD = (
    r"(?:\A[\W_]*|[,;:.!?][*_`$\s]{0,9}(?:and +)?|[)\]{}>|—–][*_`$\s]{0,9}|(?<=[0-9.:)!])\*\* +"
    r"|(?<=\s)(?=(?:so|therefore|thus|hence|but|then)\b))"
    r"(?:(?:so|therefore|thus|hence|but|then|now|finally|here|consequently|accordingly|overall"
    r"|in conclusion|in summary|in short|in total|to summarize|as a result),? +){0,3}"
    r"(?:(?:(?:we|I) (?:get|find|have|obtain|see|know|conclude|think|believe)"
    r"|(?:this|that|it|which) (?:gives?|means|shows|implies|follows)(?: us)?|giving(?: us)?|to get"
    r"|here(?: is|['’]s))(?: that)? +)?"
    r"[*_`]*(?:(?:the|our|my) +)?"
    r"(?:[*_`(]*(?:final|correct|right|required|desired|exact|numerical|numeric|simplified)\)? +)"
    r"{0,2}[*_`]*"
)
_STATES = re.compile(rf"=|\b(?:{INTRODUCES})(?!\w)")
# Of what is said to be the answer, only a part or a multiple is.
_PART = re.compile(r"\W*(?:half|twice|double|triple|minus|plus|times)\b", re.IGNORECASE)
# The numbers of a reason are no answers: 5, because 2 + 3 = 5.
_REASONED = re.compile(
    rf"(?:\d|\b(?:{'|'.join(COUNTS)})\b)\D*?"
    r"(?:\b(?:because|since)\b|, ?as\b(?! (?:well|many|much)\b))",
    re.IGNORECASE,
)
_REASON = re.compile(r",? +because\b")
_LEADS = re.compile(rf"{_LEAD}\Z", re.IGNORECASE)
_ANSWER = re.compile(r"\banswer(?!\w)", re.IGNORECASE)
_ANSWERS = re.compile(
    rf"{_LEAD}answer(?: ?\([^()]{{1,60}}\))?(?:\"? ?[:=≈]| (?:is|was|to|for|equals|comes|works"
    r"|will|would|must|should|then|therefore|thus|rounded|in(?! the)"
    r"|(?:that )?(?:we|I) (?:get|want|need|seek))\b)",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r" *(?:No|Not|Or|And|But|Is|Should)\b"
    r"|.*\b(?:(?:is|was)(?: not|n['’]t)|not (?:sure|certain)|should be)\b"
)
_EXPLAINS = re.compile(r",? *(?:(?:This|That|It) is|That['’]s|It['’]s)? ?(?i:because|since)\b")
_PAUSE = re.compile(r"[.,;:](?![0-9])")
_LAST_WORD = re.compile(r"(?<![\w\\])([A-Za-z]{2,}(?:['’-][A-Za-z]+)*)\Z")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def introduces(before: str, *, marked: bool) -> bool:
    """Whether what stands before a number, without its sign and currency, lets it stand for itself.

    `marked`: it is behind "answer is" or in a box; elsewhere, sentences before the last are left
    out.

    >>> introduces("She has about ", marked=False), introduces("at least ", marked=False)
    (True, False)
    """
    if _HEDGED.match(before):
        return True
    clause = before
    if not marked:
        clause = _ITEM.sub("", clause)
        clause = clause[_last_end(_SENTENCE, clause) :]
    clause = clause[_last_end(_SO, clause.rstrip()) :]
    if not clause.strip() or _has(clause, NOT_BEFORE) or _QUESTION.match(clause):
        return False
    if not marked and _REASONED.search(clause):
        return False
    if _SUPPOSED.search(clause) or (_ANSWER.search(clause) and not _ANSWERS.search(clause)):
        return False
    if equation := _EQUATION.match(clause):
        left = _THOUSANDS.sub("", equation["left"]).rstrip()
        is_said = not (_has(clause, COMPARES) or _TRIED.search(left))
        return is_said and _is_equation(left, marked=marked)
    if _COLON.match(clause):
        named = _WORDS.findall(clause)
        return not (_has(named[-1], NOT_DIRECTLY_BEFORE | LABELS) or _NUMBERS.search(clause))
    others = [other.start() for other in _NUMBERS.finditer(clause)]
    return _VERB.match(clause) is not None and not (
        others and (marked or any(_VERB.match(clause[:other]) for other in others))
    )


def is_difference(before: str, after: str) -> bool:
    """Whether a number that words introduce is how much more something is than something else.

    >>> is_difference("She has ", " more apples"), is_difference("She needs ", " more apples")
    (True, False)
    """
    if _HEDGED.match(before) or not _DIFFERS.search(after):
        return False
    said = _WORDS.findall(before)
    return not (said and " times" not in after and _has(said[-1], WANTS))


def surrounds(before: str, behind: str) -> bool:
    """Whether what is beside a box leaves its number what it is: no sign, no scale, no doubt."""
    before, behind = before.rstrip(' $([*_`"“'), behind.lstrip(' $)]*_`"”')
    if not (_PAUSE.match(behind) or ends(f" {behind}", currency=False)) or doubts(before):
        return False
    if not before or before[-1] in ":,.;":
        return True
    if equation := _EQUATION.match(before[-_NEAR:]):
        return not equation["left"] or _SIDE.search(equation["left"].rstrip()) is not None
    word = _LAST_WORD.search(before)
    return word is not None and not _has(word[1], NOT_BEFORE | NOT_DIRECTLY_BEFORE)


def leads(before: str) -> bool:
    """Whether what stands before "answer is" lets it state the answer.

    >>> leads("2 + 3 = 5, so the final "), leads("The student's ")
    (True, False)
    """
    sentence = before[_last_end(_SENTENCE, before) :]
    sentence = sentence[_last_end(_SO, sentence) :]
    if _has(sentence, CONDITIONS | HEDGED):
        return False
    if _PART.match(sentence) and not _STATES.search(sentence):
        return False
    stated, joined, rest = sentence.rpartition(" and ")
    if joined and _STATES.search(stated) and not _has(stated, COMBINES):
        sentence = rest
    return _LEADS.search(sentence) is not None


def stated_end(text: str) -> int:
    """Where the sentence ends that has the first digit of a text, or the reason in it begins."""
    digit = re.search(r"\d", text)
    end = _SENTENCE.search(text, digit.end()) if digit else None
    last = end.start() + 1 if end else len(text)
    reason = _REASON.search(text, digit.end(), last) if digit else None
    return reason.start() if reason else last


def sentences(text: str) -> list[str]:
    """The sentences of a text, each without its end."""
    return [said for said in _SENTENCE.split(text) if said.strip()]


def takes_back(sentence: str) -> bool:
    """Whether a sentence behind an answer changes it or takes it back: `Actually it is`."""
    first = _WORDS.search(sentence)
    return (
        _TAKEN_BACK.match(sentence) is not None
        or _has(sentence, RETRACTS)
        or (first is not None and _has(first[0], NUMERALS))
    )


def explains(sentence: str) -> bool:
    """Whether a sentence gives the reason of the one before: its numbers are no answers."""
    return _EXPLAINS.match(sentence) is not None


def doubts(before: str) -> bool:
    """Whether what stands before a box makes it no statement: `if`, `I doubt`."""
    sentence = before[_last_end(_SENTENCE, before) :]
    return _has(sentence, DOUBTS | HEDGED) or _OF_THE.search(sentence) is not None


def is_closed(above: str) -> bool:
    """Whether the line above a number leaves nothing open that the number goes on with."""
    heading = HEADING.match(above) and not re.search(r"\d", above)
    if heading and not _has(above, NOT_BEFORE | NOT_DIRECTLY_BEFORE):
        return True
    return _CLOSED.search(above) is not None


def _last_end(pattern: re.Pattern[str], text: str) -> int:
    return max((found.end() for found in pattern.finditer(text)), default=0)


def _is_equation(left: str, *, marked: bool) -> bool:
    """Whether this is one side, or several, of one equation: of `x = 5, y = 6` none is the last."""
    if left and not _SIDE.search(left):
        return False
    # Behind a mark nothing else is said; elsewhere words may come first: in 3 days, x = 5.
    rest = left if marked else left.partition("=")[2]
    pause = max(rest.rfind(","), rest.rfind(";"))
    if pause < 0:
        return not (_has(rest, JOINS) or (marked and re.search(r"[.!?] ", rest)))
    return _CALCULATION.fullmatch(rest[pause + 1 :]) is not None


def ends(after: str, *, currency: bool) -> bool:
    """Whether what stands behind a number is a unit, or nothing, and then the end of the sentence.

    `currency`: one stands before the number; then letters behind it are no unit.

    >>> ends(" apples.", currency=False), ends(" million", currency=False)
    (True, False)
    """
    found = _ENDS.match(after)
    if found is None:
        return False
    said = _WORDS.findall(found["words"])
    if _REPEATED.search(found["words"]) or (found["stop"] == "!" and not said):
        return False  # 5 miles many times; a factorial, or not
    if currency and (found["unit"] or found["sign"]):
        return False
    if found["unit"] and _has(" ".join(said[:1]), MONEY):
        return False  # 5 m dollars
    if said and not any(found[unit] for unit in ("sign", "unit", "per")):
        first = said[0]
        if found["words"].strip() in ("in total", "in all"):
            return True
        if not first.islower() or (len(first) < 3 and (first not in ("a", "of") or len(said) == 1)):
            return False
    return not _has(found["words"], NOT_BEHIND) and all(
        len(word) > 1 or (word == "a" and said[-1] != "a") for word in said
    )


def _has(text: str, barred: frozenset[str]) -> bool:
    return any(changes(word, barred) for word in _WORDS.findall(text))
