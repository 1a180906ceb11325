"""The order of named values and the letters of a word, which math-verify ignores."""

from __future__ import annotations

import pytest
from faults import drawn
from hypothesis import given
from hypothesis import strategies as st

from chord.rewards.kinds import has_other_letters, in_order

pytestmark = pytest.mark.faults

fuzzed = drawn(few=150, full=20_000)
VALUES = st.sampled_from(["1", "-2", "1.5", r"\frac{1}{2}", "(3,4)", r"\sqrt{2}", "2x", "10"])
SEPARATORS = [",", ", ", "; ", r"\text{ and }", " and ", r", \quad "]


@fuzzed
@given(
    st.dictionaries(st.sampled_from("abcmnpxyz"), VALUES, min_size=2, max_size=5),
    st.randoms(use_true_random=False),
    st.sampled_from(SEPARATORS),
    st.sampled_from(["({})", r"$({})$", r"\left({}\right)", "f = ({})", "({})."]),
)
def test_named_values_equal_a_tuple_in_the_order_of_their_names(
    values: dict[str, str], random: object, separator: str, around: str
) -> None:
    names = list(values)
    random.shuffle(names)  # type: ignore[attr-defined]
    named = separator.join(f"{name} = {values[name]}" for name in names)
    ordered = [values[name] for name in sorted(names)]
    expected = f"({','.join(ordered)})"
    assert in_order(named, around.format(", ".join(ordered))) == (expected, expected)
    given, known = in_order(around.format(", ".join(ordered[::-1])), named) or ("", "")
    assert (given, known) == (f"({','.join(ordered[::-1])})", expected)


@fuzzed
@given(st.lists(VALUES, min_size=2, max_size=4), st.permutations(range(4)))
def test_a_list_has_an_order_beside_a_tuple_alone(values: list[str], order: list[int]) -> None:
    other = [values[at] for at in order if at < len(values)]
    bare, given = ", ".join(values), ", ".join(other)
    assert in_order(f"({given})", bare) == (f"({','.join(other)})", f"({','.join(values)})")
    assert in_order(given, bare) is None
    assert in_order(f"({given})", f"({bare})") is None
    assert in_order(rf"\{{{given}\}}", bare) is None


@pytest.mark.parametrize("text", ["1,234", "5", "[1, 2]", "x = 1, x = 2", "in 3 days, 5"])
def test_what_is_no_tuple_is_left_to_math_verify(text: str) -> None:
    assert in_order(text, r"\{1, 2\}") is None
    assert text == "x = 1, x = 2" or in_order(text, "(1, 2)") is None


@fuzzed
@given(
    st.text("ABHTxy", min_size=3, max_size=8),
    st.text("ABHTxy", min_size=3, max_size=8),
    st.sampled_from(["{}", "${}$", r"\text{{{}}}", r"\mathrm{{{}}}", " {}.", r"\angle {}"]),
)
def test_words_are_the_same_letter_for_letter(known: str, said: str, around: str) -> None:
    assert has_other_letters(around.format(said), known) == (said != known)
    assert not has_other_letters(f"{said}+1", known)


@pytest.mark.parametrize("text", ["(", "x=1,", "$x=1$ ", ",", "{", "x", " and ", "\\text{"])
def test_a_long_response_is_read_in_linear_time(text: str) -> None:
    for known in ("x=1,y=2", "(1,2)", "HTH"):
        in_order(text * 50_000, known)
        has_other_letters(text * 50_000, known)
