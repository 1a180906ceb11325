"""Boxes: one rule for the right answers of worked solutions and for the answers of responses."""

from __future__ import annotations

from pathlib import Path

import pytest
from texts import TOKENIZER, refusal, write

from chord.data.batch import Problem
from chord.data.boxes import last_box
from chord.data.jsonl import FilesConfig
from chord.rewards import Numeric
from chord.rewards.answers import stated_answer, statement


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (r"$\boxed{5}$", "5"),
        (r"\boxed{5}, no: \boxed{ 6 }", "6"),
        (r"\boxed{\frac{\frac{1}{2}}{3}}", r"\frac{\frac{1}{2}}{3}"),
        (r"\boxed{}", ""),
        # Escaped braces need not match, as in intervals and cases.
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.} is it", r"\left\{ x \right."),
        (r"\boxed{a\}} and more}", r"a\}"),
        # A line of a matrix ends, and a group begins; or a mark of a percentage.
        (r"\boxed{1 \\{2} \\ 3}", r"1 \\{2} \\ 3"),
        (r"\boxed{50\%}", r"50\%"),
        # As MATH's solutions also write.
        (r"\boxed {5}", "5"),
        (r"$\boxed 12$.", "12"),
        (r"$\boxed7$ or $\boxed12$.", "12"),
        (r"$\boxed-5$", "-5"),
        (r"$\boxed -1.5$", "-1.5"),
        (r"$\fbox{3}$", "3"),
        (r"\boxed{3} as above, \fbox{4}", "3"),
        # No boxes.
        (r"put it into \boxed and stop", None),
        (r"\boxed", None),
        (r"\boxed{3}, then \boxed is a command", "3"),
        (r"\boxeds{3}", None),
        ("boxed{3}", None),
        ("", None),
    ],
)
def test_the_last_box_is_found(text: str, holds: str | None) -> None:
    found = last_box(text)
    assert (None if found is None else found.text) == holds
    if found is not None:
        assert found.closed
        assert text[found.begin] == "\\"
        assert text[found.start : found.end].strip("} ") == found.text.strip("} ")
    if holds:
        assert stated_answer(text) == holds
        assert statement(text).text == holds


def test_a_box_without_an_end_is_an_answer_of_a_response_but_no_right_one(tmp_path: Path) -> None:
    found = last_box(r"so \boxed{\frac{1}{2}")
    assert found is not None
    assert (found.text, found.closed) == (r"\frac{1}{2}", False)
    assert stated_answer(r"so \boxed{\frac{1}{2}") == r"\frac{1}{2}"
    rows = [{"problem": f"{n}?", "solution": rf"so \boxed{{{n}}}"} for n in range(30)]
    rows[20]["solution"] = r"so \boxed{\frac{1}{2}"
    path = str(write(tmp_path / "p.jsonl", rows))
    config = FilesConfig(problems=path)
    said = refusal(lambda: config.build(TOKENIZER))
    assert said.startswith(r"p.jsonl line 21: field solution has no \boxed{...} with the right")


def test_text_beside_a_box_and_two_boxes_are_read_as_before() -> None:
    stated = statement("x =\n\\fbox{5} apples.\nDone")
    assert (stated.before, stated.text, stated.behind) == ("x =", "5", "apples.")
    numeric = Numeric()
    for text, right in (
        (r"$\boxed 5$", True), (r"\fbox{5}", True), (r"-\fbox{5}", False),
        (r"\fbox{1} and \fbox{5}", False), (r"\boxed 5 million", False),
    ):  # fmt: skip
        assert (numeric.score(Problem("2+3?", "5", 0), text) == 1) == right, text
