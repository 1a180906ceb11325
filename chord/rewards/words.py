"""Words that stand beside numbers, and numbers in words."""

from __future__ import annotations

import re

CURRENCIES = "USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|SEK|NOK|DKK|KRW|BRL|MXN|RUB|PLN|TRY|ZAR"


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


SCALES = words(
    "hundred thousand million billion trillion quadrillion quintillion sextillion septillion "
    "milliard billiard lakh lac crore myriad dozen gross score mil mill mln mio mn bil bln bn mrd "
    "tril trn tn googol grand thou"
)
COUNTS = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty "
    "ninety"
)
PARTS = words(
    "half third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth "
    "fiftieth sixtieth seventieth eightieth ninetieth hundredth thousandth millionth billionth"
)
FUNCTIONS = words(
    "sin cos tan cot sec csc arcsin arccos arctan asin acos atan sinh cosh tanh log ln lg lb exp "
    "sqrt cbrt root abs mod modulo det gcd lcm min max floor ceil factorial"
)
CONSTANTS = words(
    "pi tau phi theta alpha beta gamma delta epsilon zeta eta kappa lambda mu nu xi rho sigma "
    "omega psi chi inf infty infinity"
)
CALCULATED = words("plus minus over divided multiplied squared cubed raised choose")
CHANGED = words("squared cubed doubled tripled halved negated inverted repeating recurring")
PREFIXES = words(
    "quetta ronna yotta zetta exa peta tera giga mega kilo hecto deca deka deci centi milli micro "
    "nano pico femto atto zepto yocto ronto quecto permille permill permil permillion MM"
)
_BASES = words("base radix binary ternary octal decimal hex hexadecimal")
# Behind a number these are units first.
UNITS_TOO = {"sec", "min"}
NOT_BEHIND = (
    {*SCALES, *(f"{each}s" for each in SCALES), *PARTS, *(f"{each}s" for each in PARTS)}
    | {"halves", *FUNCTIONS, *CONSTANTS, *CALCULATED, *CHANGED, *PREFIXES, *_BASES}
    | {"remainder", "rem", "less", "maximum", "minimum", "below", "negative"}
    | {f"{each}s".replace("xs", "xes").replace("ys", "ies") for each in COUNTS}
) - UNITS_TOO
# million and zillion, quadrupled
_GROWN = re.compile(r"\w+illi(?:on|ard)s?|\w+upled", re.IGNORECASE)
LETTERS = frozenset("mgshlLAVWJNCF")
"""Units of one letter. Not among them: k, K, M, B, T, which are scales, and t, d, b, n, which are
variables as well."""
GLUED = frozenset(
    words(
        "km cm dm mm kg mg ml mL cl dl kl ms hr hrs min mins sec secs lb lbs ft in oz yd mi mph "
        "kph kmh bps rpm Hz kHz MHz GHz kB KB MB GB TB kW MW kWh kJ kN kPa Pa kcal cal am pm AM PM "
        "st nd rd th px pt pts yr yrs ppm USD EUR GBP µm μm"
    )
)
LETTER = r"[^\W\d_]"
NUMERAL = rf"(?:{'|'.join([*COUNTS, *SCALES, 'half'])})"
COUNT = rf"(?:{'|'.join(COUNTS)})"
# A number in letters, but for the first part of a word: 5 ten-dollar bills.
COUNTED = re.compile(
    rf"{COUNT}\b(?!-(?!{COUNT}\b|(?:first|second|{'|'.join(PARTS)})s?\b){LETTER})", re.IGNORECASE
)
# Words that are more than a scale (a gross income, the grand total) are none on their own.
SCALE = rf"(?:{'|'.join(each for each in SCALES if each not in ('gross', 'score', 'grand'))})"
MEASURES = (
    "second|minute|hour|day|week|month|year|inch|foot|yard|mile|ounce|pound|stone|pint|quart"
    "|gallon|cup|cent|dollar|euro|half|third|quarter|degree"
)
LABELS = (
    "step|question|problem|part|case|equation|eq|theorem|lemma|version|chapter|page|section|figure"
    "|fig|table|round|exercise|example|option|choice|line|no"
)
MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)


def numeral(text: str) -> int | None:
    """The number below a hundred that a text of one or two words ends with.

    >>> numeral("five"), numeral("twenty-five"), numeral("my five"), numeral("hundred five")
    (5, 25, 5, None)
    """
    first, _, last = text.lower().replace("-", " ").rpartition(" ")
    if first == "and" or first in SCALES:
        return None
    values = {word: at if at <= 20 else 10 * (at - 18) for at, word in enumerate(COUNTS)}
    value, tens = values[last], values.get(first, 0)
    return value + tens if tens >= 20 and 0 < value < 10 else value


def is_unit_word(word: str) -> bool:
    """Whether a word behind a number is neither a scale, a part, a function nor a constant."""
    return not (word in NOT_BEHIND or word.lower() in NOT_BEHIND or _GROWN.fullmatch(word))
