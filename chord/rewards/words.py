"""Words that change what a number beside them means, and words that introduce one."""

from __future__ import annotations

import re

CURRENCIES = "USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|SEK|NOK|DKK|KRW|BRL|MXN|RUB|PLN|TRY|ZAR"


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SCALES = words(
    "hundred thousand million billion trillion quadrillion quintillion sextillion septillion "
    "milliard billiard lakh lac crore cr myriad dozen gross score mil mill mln mio mn bil bln bn "
    "mrd mld mille tril trn tn tsd thsd dozenth googol grand thou teen fold"
)
COUNTS = words(
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
)
_PARTS = words(
    "half halves sixes third quarter fourth fifth sixth seventh eighth ninth tenth eleventh "
    "twelfth twentieth hundredth thousandth millionth billionth"
)
_FUNCTIONS = words(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp sqrt root roots abs "
    "mod modulo det gcd lcm floor ceil factorial"
)
_CONSTANTS = words(
    "pi tau phi theta alpha beta gamma delta epsilon lambda mu sigma omega inf infty infinity"
)
_PREFIXES = words(
    "tera giga mega kilo hecto deca deci centi milli micro nano pico permille permill percentile"
)
_BASES = words("base radix binary ternary octal decimal hex hexadecimal")
_CALCULATED = words(
    "plus minus over divided multiplied squared cubed raised choose doubled tripled halved "
    "quadrupled negated inverted repeating recurring remainder rem point"
)
_BOUNDS = words(
    "than least most less fewer greater lower higher below beneath above under beyond maximum "
    "minimum max minimal maximal up almost nearly barely hardly"
)
_COMPARATIVES = words(
    "younger older elder taller shorter longer bigger smaller larger wider narrower broader "
    "deeper shallower thicker thinner heavier lighter slimmer fatter leaner fuller emptier "
    "steeper flatter cheaper dearer pricier costlier richer poorer faster slower quicker sooner "
    "later earlier nearer closer farther further hotter warmer cooler colder milder drier wetter "
    "brighter darker louder quieter softer harder stronger weaker tighter looser sharper fresher "
    "cleaner busier easier tougher simpler better worse happier sadder smarter safer riskier "
    "healthier fitter rarer tinier"
)
"""Behind a quantity they make a difference of it: 5 years younger."""
_DENIED = words(
    "not no nobody nothing neg nor never neither none cannot without wrong incorrect incorrectly "
    "false negative except unless doubt denies unlikely impossible suppose assume assuming given "
    "reject rejected undefined extraneous mistake mistakenly"
)
HEDGED = words(
    "maybe perhaps possibly probably presumably seemingly seems supposedly allegedly might guess "
    "guesses guessed say says said claim claims claimed thought hope hopes hoped wish wishes wished"
)
"""What makes a sentence a guess, a wish, or someone else's."""
_JOINS = words("and or but if where when while because since whereas versus vs either whether")
_CLAUSES = words("is are was were be equals equal means")
_NUMERALS = {
    *(f"{word}{ending}" for word in SCALES | COUNTS | _PARTS for ending in ("", "s")),
    *(f"{word[:-1]}ies" for word in COUNTS if word.endswith("y")),
}
NOT_BEHIND = frozenset(
    _NUMERALS | _BASES | _BOUNDS | _COMPARATIVES | _CALCULATED | _CLAUSES | _CONSTANTS | _DENIED
    | _FUNCTIONS | _JOINS | _PREFIXES | words(
        "one then am pm o'clock noon midnight sharp past itself fails debt overdrawn deficit loss "
        "short shy decrease down tops ish upward upwards onward onwards subzero underwater "
        "underground twice thrice again too off behind ahead ago early late slow fast surplus "
        "excess arrears owing"
    )
) - {"min", "sec"}  # fmt: skip
"""What none of the words behind a number may be."""
NOT_BEFORE = frozenset(
    SCALES | {f"{scale}s" for scale in SCALES} | _DENIED | HEDGED
    | words("or if iff when where while until whether either between twice thrice prove show")
) - words("gross score grand")  # fmt: skip
"""What none of the words that introduce a number may be."""
NOT_DIRECTLY_BEFORE = (_BOUNDS | _CALCULATED | words("double triple")) - words(
    "maximum minimum max min remainder"
)
"""Nor the last of them, before a colon."""
LABELS = words(
    "problem question exercise example task step page chapter section figure table equation part "
    "case version line"
)
"""Names of what is numbered: before a colon they make a number a label."""
RETRACTS = words(
    "maybe perhaps possibly might guess wrong incorrect incorrectly mistake mistaken error "
    "actually wait sorry oops correction instead alternatively however hmm mean meant unsure doubt "
    "unlikely"
)
"""What takes an answer back in the sentences behind it."""
NUMERALS = frozenset(_NUMERALS)
CONDITIONS = _DENIED | words("if iff whether unless might prove show")
"""What makes no statement of "the answer is"."""
DOUBTS = CONDITIONS | words("half twice double triple minus times")
"""What makes no statement of a box."""
COMBINES = words(
    "between both "
    "sum product difference ratio quotient average mean add adding multiply multiplying"
)
"""What joins two quantities with `and`, so that none of them is said to be the answer."""
COMPARES = words("than least most")
"""What does not stand before an equation."""
MONEY = words("dollars dollar euros euro pounds pound usd eur gbp")
JOINS = _JOINS | words("then for with")
"""What makes two statements of two equations."""
WANTS = words("need needs needed require requires required want wants wanted buy buys bought")
"""Behind these `5 more apples` are 5 apples; elsewhere they are a difference."""
_GROWN = re.compile(r"\w*il+i?(?:on|ard)\w*|\w+upled?|\w+n't", re.IGNORECASE)  # zillion, quintuple

LETTERS = "mgshlLWVJNACF"
"""Units of one letter, behind a space. Not among them: k, K, M, B, T, which are scales, and t, d,
b, n, which are variables as well."""
UNITS = (
    "km|cm|dm|mm|kg|mg|ml|mL|cl|dl|hr|hrs|min|mins|sec|secs|ms|lb|lbs|ft|oz|yd|mi|mph|kph|rpm"
    "|Hz|kHz|MHz|GHz|kB|KB|MB|GB|TB|kW|MW|kWh|kJ|kN|Pa|kPa|kcal|cal|pt|pts|yr|yrs|ppm"
)
PER = "second|minute|hour|day|week|month|year|person|unit|each|hr|min"

INTRODUCES = (
    "is|are|was|were|be|been|equals|equal|equaled|has|have|had|costs?|needs?|needed|gets?|got"
    "|makes?|made|making|earns?|earned|earning|pays?|paid|spends?|spent|takes?|took|saves?|saved"
    "|sells?|sold|buys?|bought|eats?|ate|drinks?|drank|walks?|walked|runs?|ran|drives?|drove"
    "|travel(?:s|ed)?|reads?|wrote|writes?|picks?|picked|collects?|collected|bakes?|baked|uses?"
    "|used|gives?|gave|receives?|received|owes?|owed|weighs?|weighed|lasts?|lasted|leaves?|left"
    "|leaving|remains?|becomes?|became|brings?|brought|contains?|holds?|finds?|found|plants?"
    "|planted|wins?|won|yields?|totals?|reaches|reached|require[sd]?|produce[sd]?|it['’]s"
    "|there['’]s|that['’]s"
)
"""Verbs behind which a number is what the sentence states."""
HEDGES = (
    "about|approximately|approx\\.?|around|roughly|exactly|only|just|still|now|also|always|simply"
    "|therefore|thus|then|actually|currently|another|an additional|an extra"
)
KINDS = "total|final|net|combined|overall|average|grand"
AMOUNTS = (
    "total|sum|average|profit|distance|area|volume|length|width|height|weight|value|price|cost"
    "|number|amount|speed|balance|salary|discount|perimeter"
)


def changes(word: str, changing: frozenset[str]) -> bool:
    """Whether a word, or a part of one with hyphens, is in `changing` or the name of a scale."""
    said = word.lower().replace("’", "'")
    parts = [said, *said.split("-")]
    return any(part in changing or _GROWN.fullmatch(part) for part in parts)
