"""The number that a response states is read as it is written; any other text gives none."""

from __future__ import annotations

from fractions import Fraction

import pytest
from faults import drawn
from hypothesis import assume, given
from hypothesis import strategies as st

from chord.data.batch import Problem
from chord.rewards import Numeric
from chord.rewards.numbers import only_number, stated_number

pytestmark = pytest.mark.faults

fuzzed = drawn(few=150, full=20_000)
MINUSES = "-\u2010\u2011\u2012\u2013\u2212\u02d7\u2796\ufe63\uff0d"


def problem(answer: str) -> Problem:
    return Problem(prompt="?", answer=answer, key=0)


# Forms of one number, written from the number and not read by what is tested.


def grouped(digits: str, separator: str) -> str:
    head = len(digits) % 3 or 3
    return separator.join(
        [digits[:head], *(digits[i : i + 3] for i in range(head, len(digits), 3))]
    )


@st.composite
def unsigned(draw: st.DrawFn) -> tuple[str, Fraction]:
    """A number without a sign in one of the documented forms, and its value."""
    kind = draw(st.sampled_from(["whole", "decimal", "grouped", "exponent", "over", "mixed"]))
    whole = draw(st.integers(0, 10 ** draw(st.integers(1, 12))))
    digits, rest = str(whole), draw(st.text("0123456789", min_size=1, max_size=6))
    value, decimals = Fraction(whole), Fraction(int(rest), 10 ** len(rest))
    if kind == "whole":
        return digits, value
    if kind == "decimal":
        shown = draw(st.sampled_from([digits, ""] if whole == 0 else [digits]))
        return f"{shown}.{rest}", value + decimals
    if kind == "grouped":
        separator = draw(
            st.sampled_from([",", "'", "’", "\u00a0", "\u202f", "\u2009", "{,}", r"\,"])
        )
        tail, more = draw(st.sampled_from([("", Fraction(0)), (f".{rest}", decimals)]))
        return grouped(digits, separator) + tail, value + more
    if kind == "exponent":
        power = draw(st.integers(-120, 120))
        shown = draw(st.sampled_from([f"e{power}", f"E{power}", f"e{power:+d}"]))
        return f"{digits}.{rest}{shown}", (value + decimals) * Fraction(10) ** power
    over, under = draw(st.integers(0, 999)), draw(st.integers(1, 999))
    part = Fraction(over, under)
    if kind == "over":
        form = draw(
            st.sampled_from(
                ["{}/{}", "{} / {}", "{}⁄{}", r"\frac{{{}}}{{{}}}", r"\dfrac{{{}}}{{{}}}"]
            )
        )
        return form.format(over, under), part
    assume(over < under)
    form = draw(st.sampled_from(["{} {}/{}", r"{}\frac{{{}}}{{{}}}", r"{} \tfrac{{{}}}{{{}}}"]))
    return form.format(whole, over, under), whole + part


@st.composite
def numbers(draw: st.DrawFn) -> tuple[str, Fraction]:
    """A number in one of the documented forms, with a sign, a currency or neither."""
    text, value = draw(unsigned())
    sign = draw(st.sampled_from(["", "", "+", *MINUSES]))
    currency = draw(st.sampled_from(["", "", "", "$", "€", "£", "US$", r"\$"]))
    first = draw(st.booleans())
    written = f"{sign}{currency}{text}" if first else f"{currency}{sign}{text}"
    if draw(st.booleans()):
        # Full-width digits, as in Japanese text; names of LaTeX stay.
        table = {ord(c): chr(ord(c) + 0xFEE0) for c in "0123456789"}
        written = written if "\\" in written else written.translate(table)
    return written, -value if sign and sign in MINUSES else value


AROUND = [
    "{}", "{}.", " {}\n", "**{}**", "${}$", r"\boxed{{{}}}", r"\boxed{{x = {}}}", r"\({}\)",
    "The answer is {}.", "The answer is: **{}**.", "Answer: {}", "answer:{}", "**Answer:** {}",
    "x = {}", "x={}", "= {}", "#### {}", "<answer>{}</answer>", "<answer> {} </answer>", "({})",
    "16 - 7 = 9; 3 * 4 = {}", "In 2024 there were three.\nSo it is {}.",
    "Of 7 things, 2 are left.\n\nIt costs about {} in total.", "{} eggs", "“{}”", "Total cost: {}",
    r"The answer is $\boxed{{{}}}$. I hope it helps.", "\\[\nx = {}\n\\]",
    "<think>7 = 7</think>\n{}", "<think>\\boxed{{7}}, the answer is 7</think>\nThe answer is {}",
    r"<think>\boxed{{7}}</think>\boxed{{{}}}", "<think>So the answer is {}</think>\n",
    "### Answer\n{}", "## **Final Answer**\n\n{}", "**Answer**\n{}\n\nHave 2 nice days.",
    "The answer is {} because 3 + 4 = 7.", "The answer is {}, because 3 of 7 are left.",
    "The answer is:\n\n{}\n\nLet me know if you have 2 questions.", "9 / 3 = 3, so x = {}",
]  # fmt: skip


def fits(text: str, around: str) -> bool:
    """Whether a formula can hold the text: a dollar sign in one needs a backslash."""
    return around != "${}$" or "$" not in text.replace(r"\$", "")


@fuzzed
@given(numbers(), st.sampled_from(AROUND))
def test_a_number_is_read_whatever_is_around_it(written: tuple[str, Fraction], around: str) -> None:
    text, value = written
    assume(fits(text, around))
    response = around.format(text)
    assert stated_number(response) == value, response


UNSURE = [
    "Maybe", "Perhaps", "Probably", "I guess", "I doubt that", "If", "Unless", "Suppose",
    "Half of this,", "Twice that,", "Minus this,", "It might be that", "He says",
]  # fmt: skip


@fuzzed
@given(
    numbers(),
    st.sampled_from(UNSURE),
    st.sampled_from(["the answer is {}", "the answer is $\\boxed{{{}}}$", "it is \\boxed{{{}}}"]),
    st.sampled_from(["", ".", " because 2 + 3 = 5."]),
)
def test_what_is_unsure_or_a_part_of_the_answer_states_none(
    written: tuple[str, Fraction], unsure: str, said: str, behind: str
) -> None:
    response = f"We have 3 eggs. {unsure} {said.format(written[0])}{behind}"
    assert stated_number(response) is None, response


CHANGED = [
    "{} miles twice", "{} miles thrice", "{} laps many times", "{} apples too few", "{} too many",
    "{} years younger", "{} inches taller", "{} cheaper", "{} days longer", "{} hours later",
    "{} pounds heavier", "{} minutes faster", "{} off", "{} behind", "{} points ahead",
    "{} minutes early", "{} years ago", "{} times twice",
]  # fmt: skip
DIFFERENCES = [
    "{} more", "{} more apples", "{} extra", "{} additional points", "{} times as many",
    "{} times the number of apples", "{} times his age", "{} times more",
]  # fmt: skip
INTRODUCED = ["She has {}", "The price is {}", "It takes {}", "After lunch, he walks {}"]
MARKED = ["The answer is {}", "#### {}", r"\boxed{{{}}}", "Answer: {}", "### Answer\n{}"]


@fuzzed
@given(
    numbers(),
    st.one_of(
        st.tuples(st.sampled_from(INTRODUCED + MARKED), st.sampled_from(CHANGED)),
        st.tuples(st.sampled_from(INTRODUCED), st.sampled_from(DIFFERENCES)),
    ),
    st.sampled_from(["", "."]),
)
def test_a_word_behind_a_number_that_changes_it_leaves_none(
    written: tuple[str, Fraction], forms: tuple[str, str], stop: str
) -> None:
    said, changed = forms
    response = said.format(changed.format(written[0])) + stop
    assert stated_number(response) is None, response


@fuzzed
@given(
    numbers(),
    st.sampled_from(["{}", "x = {}", "She has {} apples", "The total is {}"]),
    st.sampled_from([", because", " because", ", since", ", as"]),
    st.integers(0, 99),
)
def test_the_numbers_of_a_reason_are_not_read(
    written: tuple[str, Fraction], said: str, because: str, other: int
) -> None:
    response = f"{said.format(written[0])}{because} 2 + 3 = {other}"
    assert stated_number(response) is None, response


@pytest.mark.parametrize("text", ["18 m/s^2", r"\boxed{18\ \mathrm{m/s^2}}", "It is 18 km/h^2."])
def test_an_acceleration_is_read(text: str) -> None:
    assert stated_number(text) == 18


def test_of_thoughts_only_the_last_words_count() -> None:
    assert stated_number(r"<think>\boxed{3}</think> I can't say.") is None
    assert stated_number(r"<think>\boxed{3}") is None


@fuzzed
@given(numbers(), numbers(), st.sampled_from(AROUND))
def test_a_number_is_right_for_itself_in_every_form_and_for_no_other(
    known: tuple[str, Fraction], given: tuple[str, Fraction], around: str
) -> None:
    (key, right), (said, value) = known, given
    assume(fits(key, around) and fits(said, around))
    reward = Numeric(tolerance=0.0)
    assert only_number(key) == right
    assert reward.score(problem(key), around.format(key)) == 1
    assert reward.score(problem(key), around.format(said)) == (value == right)


# What holds digits and is no number in any of these forms.
NONE = [
    "12:30", "9:05", "1:2", "3-5", "3–5", "3 - 5", "10-20", "2024-05-06", "2024/05/06",
    "06.05.2024",
    "1.2.3", "v1.2", "(1,2)", "(1, 2)", "[0, 5]", "{1, 2}", "1,2", "1,2,3", "12,345,6", "3,5",
    "1.234,56", "1 234", "1e1000", "1e", "2x", "3x + 4", "x2", "H2O", "x^2", "x^{2}", "10^-3",
    "10^{-3}",
    "5²", "10⁻³", r"\sqrt{5}", "sqrt(5)", r"2\pi", "2π", r"\log_2 8", "5 × 10^8",
    r"3 \times 10", "5 x 3",
    "2(5)", "(1)-2", "x-5", "GPT-4", "±5", "5 ± 1", "|-5|", "--5", "5k", "$3.2M", "5 million",
    "5万",
    "3/0", "1/2/3", "3 5/2", "3:4", "3 : 4", "٤٢", "9" * 101, "0x1F", "127.0.0.1", "2e", "5+",
    "2^10",
    "7!=5040*1", "2**3", "2i", "- 5", "Result - 5", "3 -5", "1 000 000", "",  "none", "½½",
    # Scales, also behind what sets the number, and abbreviated.
    "$5$ million", "**5** million", "5 **million**", "`5` dozen", r"\boxed{5} million",
    r"$5\text{ million}$", r"\( 5 \) million", "5-million", "$5-million", "5 (million)",
    r"5~\text{million}", "5 hundreds", "$5 bn", "$5 M", "5 k", "5 B", "5 mil", "5 mln", "5 trn",
    "5 quadrillion", "**5**万", "5‰", "5 per mille", "5 and a half", "5 and one third",
    "five hundred and 5",
    "million 5", "zero point 5",
    # Parts.
    "2 thirds", "2-thirds", "3 halves", "3 half", "5 tenths", "5 hundredths", "3 quarters",
    # Factors, variables, names of functions and constants.
    "2θ", "3λ", "2 θ", "2𝑥", "2a", "2b", "2r", "2m", "2ab", "2 ab", "2 xy", "2 sin(x)",
    "2 sin x", "2 pi",
    "2-pi", "2 i", "5 x", "$5$x", "{5}x", "(5)x", "**5**x", "5 y", "5 foo(x)", "5 (x + 1)",
    "5 times x",
    "(5)+x", "5 squared", "5 divided by x", "5 choose x", "5 to the power x", "5 times ten",
    "2/π", "2/ π", "2 / π", "1/√π", "5/x", "5/h", "$5$/x", "5/sin x",
    "√ 5", "∛ 5", "± 5", "x ± 5", "log 5", "sqrt 5", "log₂ 5", "log_2 5", "sin 5", "2 cos 5",
    "-sin 5", "mod 5",
    "the square root of 5", "half of 5", "twice 5", "divided by 5", "to the power of 5",
    "x times 5",
    "x over 5", "x plus 5", "x minus 5", "plus 5", "not 5", "isn't 5", "≠ 5", "x ≥ 5", "x >= 5",
    "x < 5",
    "x <5", "> 5", "x != 5", "5 < x", "5 ≤ x", "5 <= x", "5<x",
    # Decimals whose other digits are not written.
    "0.333...", "0.333…", "0.333..", "0.333 ...", "$0.333$...", "**0.9**…", "3.14159...",
    "0.3 repeating", "0.3, recurring", "0.3 (repeating)",
    # Behind the end of a clause, a sentence or a line.
    "5, million", "5; million", "5: million", "5. million", "5 — million", "5, **million**",
    "5, and a half", "5, and one third", "5, squared", "5, times x", "5, divided by x",
    "5\nmillion", "5\n\nmillion", "5\nMillion", "5,\nmillion", "$5$\n**million**", "5\nthirds",
    "5\n(million)", "5\n万", "5\nk", "5\nx", "5\n$x$", "5\n+ x", "5 +\nx", "5\n- x", "5\n\\times x",
    "5\nto x", "5 and\na half", "5 to\nsix", "5th\nroot",
    "minus\n5", "half of\n5", "log\n5", "2 *\n5", "2 +\n5", "x >\n5", "x ≥\n5", "-\n5",
    "\\sqrt\n5", "million\n5", "x to\n5", "3 to\n5",
    # Two numbers, one in letters.
    "five 5", "twenty 5", "twenty five 5", "One 5", "five $5", "5 five", "5 twenty-five",
    # Ranges and shares of variables and constants.
    "5 to x", "5 to $x$", "$5$ to $n$", "5 through n", "5 up to x", "5 to ∞", r"5 to \infty",
    "5 to infinity", "5 or x", "5 and x", "5 of n", "5 out of n", "5 by x", "5 per x", "5% of x",
    "5 percent of x", "5 more than x", "x to 5", "from n to 5", "x through 5", "3 up to 5",
    # Roots and powers.
    "5th root", "the 5th root of x", "5-th power", "5 th root", "5th real root", "5 square roots",
    "2^{ 5 }", "x^{ 2 }", "10^( 5 )", "2( 5 )", "f( 5 )", "f (5)", "2 (5)", "3 * ( 5 )", "x^{n=2}",
    r"\sum_{i=1}", "x * 5", "x 5", r"\sqrt{ 5 }",
    "101₂", "5ⁿ", "0.3\u0305", "0.(3)",
    "2 ⨯ 5", "2 ∗ 5", "∑ 5", "∫ 5", "∞ 5", "x ∈ 5", "5 ∨ x", "5 ∧ x", "5 ∘ f", "5 ∩ 5",
    "5:x", "5 : x",
    # Tuples, intervals, calls, in whatever brackets.
    "[5, ∞)", r"$[5, \infty)$", "(-∞, 5]", r"(-\infty, 5]", "(5, x)", "(x, 5)", "P(X=2)",
    "P( X = 2 )",
    "(x=1, y=2)", "[\n 1,\n 2\n]", "⟨1, 5⟩", "⟨5, x⟩", "<1, 5>", "〈x, 5〉", "{5, }", "(5; x)",
    # Subtractions, products and quotients, ranges and ratios with spaces.
    "5 - x", "5 – x", "5 - (x)", "5 X 10", "1.5E 3", "1.5e- 3", "1 ∶ 2", "1∶2", "is 1: 2",
    "1 ~ 5", "1 to 5",
    "from 1 through 5", "3 of 5", "1 in 5", "3 out of 5", "one in 5", "1...5", "1…5", "2024 5",
    "x - 5", "$x$ -5", "$3$ 5",
    # No thousands.
    "0,123", "0'123", "0\u00a0123", "12345\u00a0678", "12345 678",
    # Signs in words, arrows, and subtractions from a formula.
    "minus 3", "negative 3", "**minus** 3", "a negative 3", "x <- 5", "x <-5", "x < - 5", "$3$ - 5",
    "$3$ -5", "$x$ - 5", "10$ - 5", "5$ - 10$", "$ 3 $ - 5", "**3** -5", "f(- 5)", "2(- 5)",
    "2^{- 5}",
    "x = - -5", "= - +5", "— 5", "x = — 5", "it is — 5", "―5",
    "- USD 5", "-x 5", "x - $5", "**- 5**",
]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number_gives_none_and_never_another(text: str) -> None:
    assert stated_number(text) is None
    assert only_number(text) is None
    with pytest.raises(ValueError, match=r"^reward=numeric: the answer .* is not one number"):
        Numeric().check(problem(text))
    # Nor is it the one before.
    if any(letter.isdecimal() for letter in text):
        assert stated_number(f"Of 7 we know that it is {text}") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5 m", 5), ("5 kg", 5), ("5kg", 5), ("5 apples", 5), ("5 a day", 5), ("5/day", 5),
        ("5 km/h", 5), ("5 °C", 5), ("5 m²", 5), ("5 sec", 5), ("5 min", 5), ("5 times", 5),
        ("5 times as many", 5), ("5 m/s", 5), ("$5$ apples", 5),
        ('5\\text{ m}', 5), ("【5】", 5), ('{"answer": 5}', 5), ("- x is 5", 5), ("-USD 5", -5),
        ("-EUR 5", -5), ("USD -5", -5), ("USD 5", 5), ("-$ 5", -5), ("-$5", -5), ("$ -5", -5),
        ("(- 5)", -5), ("x = -5", -5), ("it is -5", -5), ('1\xa0234', 1234), ("$5$.", 5),
        ('5\nkm', 5), ('5\ng', 5), ('5\n```', 5), ('5\n\\end{align}', 5), ('5 \\\\\n', 5),
        ('Answer:\n5', 5), ('x =\n5', 5), ('```\n5\n```', 5), ('$$\n5\n$$', 5), ('\\[\n5\n\\]', 5),
        ('---\n5', 5), ('***\n5', 5), ('<answer>\n5\n</answer>', 5), ('a million.\n5', 5),
        ("5 of a kind", 5), ("5 of B's apples", 5), ("5% of the people", 5),
        ("5 square meters", 5), ('x = -\n5', -5),
    ],
)  # fmt: skip
def test_a_number_with_a_unit_or_a_mark_is_read(text: str, number: int) -> None:
    assert stated_number(text) == number


# A reader would take a number from most of these, but none has one of the documented forms.
UNREAD = [
    "⇒5", "∴5", "•5", "✓5", "✔️5", "x is...5", "x is…5", "5-year", "5 by noon", "5 to us",
    "5 I think", "5 - as shown",
    "5 (as shown, above)", "5️⃣", '$5$ \\blacksquare', "5个", "5千克", "(about 5, or so)",
    '{"unit": "km", "answer": 5}', "(x = 5)", "(2 + 3 = 5)", "9 * 2 = $<<9 * 2>>18 every day",
    "10 p.m.", "score 5", "72 (clips)", '\\therefore 5', "answer is 15 - that's it",
    "15 — done", "Step 3: 5", "3. 5 apples", "(a) 5", "<b>5</b>", "<b> 5 </b>", "-> 5", "=> 5",
    "x => 5", "* 5", "$- 5$", "x = $ - 5$", "x: - 5", "5...", "5…", "5.. so",
    "5. Half of them", "5, because", "5, half of which are red", "5, thousands of times",
    "5, and one of them is red", "5, over the whole week", "5, gross", '5\nas shown',
    '5\nThe end', '5\nHalf of them stay.', '5\nMillions of people', '5\nThird, we see.',
    '5\n\nQ: next', '5\nA. no', '5\n- as shown', '5\n* half of it', '5\n(as shown)', '5\n十分感谢',
    '**Step 2**\n5', '3\n5', 'one\n5', 'Q\n5', 'C++\n5', "five (5)", "five: 5", "five, 5",
    "everyone 5", "5 ten-dollar bills", "5 and I am done", "x is set to 5",
    "we set x to 5", "x: 5", "5th", "5th of July", "5th term",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREAD)
def test_a_form_that_is_not_documented_gives_none(text: str) -> None:
    assert stated_number(text) is None


@pytest.mark.parametrize(
    "text", ["5!", "1, 2", "between 3 and 5", "7 or 8", "it was 5; now it is 6"]
)
def test_a_known_answer_with_two_numbers_is_none(text: str) -> None:
    assert only_number(text) is None


@fuzzed
@given(
    st.text(
        st.sampled_from(list("0123456789.,-+/eE:$€%()[]{}=^*x \n\u00a0½²−–\\_'\"<>|٤a")),
        max_size=24,
    )
)
def test_another_last_digit_is_another_number_or_none(text: str) -> None:
    found = stated_number(text)
    if not found:
        return  # none, or 0, which is 0/3 and 0/4
    at = max(place for place, letter in enumerate(text) if letter.isdecimal() or letter in "½")
    for digit in "0123456789":
        if text[at] in "0123456789" and digit != text[at]:
            assert stated_number(text[:at] + digit + text[at + 1 :]) != found
