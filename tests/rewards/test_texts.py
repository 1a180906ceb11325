"""A text is right as it is written, with or without what may be put around it."""

from __future__ import annotations

import pytest
from faults import drawn
from hypothesis import assume, given
from hypothesis import strategies as st

from chord.data.batch import Problem
from chord.rewards import Text
from chord.rewards.answers import readings, stated_answer
from chord.rewards.numbers import stated_number

pytestmark = pytest.mark.faults

fuzzed = drawn(few=150, full=20_000)


def problem(answer: str) -> Problem:
    return Problem(prompt="?", answer=answer, key=0)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp")),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() == text and text)
SAID = [
    "{}", "{}\n", "The answer is {}", "The answer is {}.", "The answer is **{}**.", "Answer: {}",
    "**Answer:** {}", "**Answer: {}**", "answer: *{}*", "<answer>{}</answer>",
    "<answer>\n{}\n</answer>",
    "#### {}", "Let me think.\n#### {}", "Let me think.\n{}", "Let me think.\n**{}**",
    r"\boxed{{{}}}",
    r"So \boxed{{{}}}.",
]  # fmt: skip
STOPS = ["U.S.", "5 p.m.", r"\boxed{5}", "*", "**a**", "a*", "*a", ".", "...", "#1"]
MARKS = ("answer", "boxed", "####", "{", "}")


@fuzzed
@given(st.one_of(WORDS, st.sampled_from(STOPS)), st.sampled_from(SAID))
def test_the_right_text_is_right_however_it_is_stated(known: str, said: str) -> None:
    # In a box, braces that do not match end it; a mark in the answer is one of the response.
    assume(not any(mark in known.casefold() for mark in MARKS) or said == "{}")
    assume(not (known.startswith("#") and said.startswith("####")))
    assert Text().score(problem(known), said.format(known)) == 1
    assert Text(part="whole").score(problem(known), known) == 1


@fuzzed
@given(WORDS, WORDS, st.sampled_from(SAID))
def test_another_text_is_wrong(known: str, other: str, said: str) -> None:
    bare = [text.strip("*. \u3000") for text in (known, other)]
    assume(bare[0] != bare[1])
    assume(not any(mark in text.casefold() for mark in MARKS for text in (known, other)))
    assert Text().score(problem(known), said.format(other)) == 0


@pytest.mark.parametrize(
    "known", ["U.S.", "5 p.m.", r"\boxed{5}", "**bold**", "#### 18", "e.g.", "*"]
)
def test_the_known_answer_itself_is_right(known: str) -> None:
    for part in ("stated", "whole"):
        assert Text(part=part).score(problem(known), known) == 1
    assert Text().score(problem(known), known.upper()) == (known == known.upper())
    assert Text(ignore_case=True).score(problem(known), known.upper()) == 1


@pytest.mark.parametrize(
    ("known", "response"),
    [
        ("A*", "A"), ("A", "A*"), ("A", "*A"), ("*p", "p"), ("**a**", "a"), ("U.S.", "U.S"),
        ("x.*", "x"),
        ("[a-z]*.", "[a-z]"), (":)", ")"), (")", ":)"), ("*", "."), ("*", "The answer is ."),
        (".", "*"),
        ("**", "."), ("No answer: unknown", "unknown"), ("The answer is 5", "5"),
        (r"\boxed{5}", "5"),
        ("<answer>5</answer>", "5"), ("x", "x.."), ("", "<answer></answer>"), ("", "The answer is"),
        (" ", "x"), ("3", "The answer is 3\n\\boxed{5}"), ("5", "5 }"),
    ],
)  # fmt: skip
def test_the_marks_of_a_known_answer_belong_to_it(known: str, response: str) -> None:
    assert Text().score(problem(known), response) == 0


@pytest.mark.parametrize(
    ("known", "response"),
    [
        ("5", "<answer>5.</answer>"), ("5", r"\boxed{5.}"), ("5", "#### 5."), ("5", "#### **5**"),
        ("Paris", "<answer>**Paris**</answer>"), ("Paris", "<answer>**Paris.**</answer>"),
        ("Yes", "The answer is:\n\n**Yes**"), ("Yes", "**Answer:**\n\nYes."),
        ("Yes", "**The answer is Yes**"), ("}", r"\boxed{}}"), ("{", r"\boxed{{}"),
        (":)", "The answer is :)"), (":", "The answer is :"), ("U.S", "U.S."),
        ("No answer: unknown", "The answer is No answer: unknown."),
        ("No answer: unknown", "No answer: unknown"), (r"\boxed{5}", r"The answer is \boxed{5}."),
        (r"\boxed{5}", r"<answer>\boxed{5}</answer>"),
        ("The answer is 5", "<answer>The answer is 5</answer>"),
        ("1 2\r\n3 4", "1 2\n3 4"), ("1 2\n3 4", "<answer>1 2\r\n3 4</answer>"),
        ("1 2\r\n3 4\r\n", "1 2\r\n3 4"), ("It is.\r\n#### Paris\r\n", "Paris"),
    ],
)  # fmt: skip
def test_what_is_put_around_an_answer_may_be_left_out(known: str, response: str) -> None:
    assert Text().score(problem(known), response) == 1


@pytest.mark.parametrize("known", ["", " \n"])
def test_an_empty_known_answer_is_refused(known: str) -> None:
    with pytest.raises(ValueError, match=r"^reward=text: the answer of a problem is empty"):
        Text().check(problem(known))


@pytest.mark.parametrize(
    "text",
    [
        "answer is" + " " * 200_000,
        "answer is" * 200_000,
        "answer" + "*" * 200_000,
        "answer is " + "\t" * 200_000 + "answer",
        "<answer>" * 100_000,
        r"\boxed{" * 100_000,
        "1," * 100_000,
        "1 1/" * 100_000,
        "(" * 200_000 + "1" + ")" * 200_000,
        "-" * 200_000 + "1",
        "1" * 400_000,
        r"\frac{1}{" * 50_000,
        "½" * 100_000,
        " " * 400_000 + "1",
        "1" + "*" * 400_000,
        "-$ " * 100_000 + "1",
        "<" * 400_000 + "1",
        "1 (" * 100_000,
        "1" + "\n" * 400_000 + "x",
        "1\na" * 100_000,
        "1" + "\n " * 200_000 + "1",
    ],
    ids=range(21),
)
def test_a_long_response_is_read_in_one_pass(text: str) -> None:
    # Quadratic, each of these would take minutes: pytest's own limit is the clock.
    readings(text)
    stated_number(text)
    stated_answer(text, lines=True)
