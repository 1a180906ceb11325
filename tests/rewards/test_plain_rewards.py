"""Rewards that read text alone: numbers, texts, lengths, forms, and several with weights."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from chord.data.batch import Problem
from chord.errors import quoted
from chord.rewards import (
    Auto,
    Failure,
    Format,
    Grade,
    Grader,
    Length,
    Numeric,
    Reward,
    Text,
    Verifier,
    Weighted,
    numbers,
)
from chord.rewards.answers import stated_answer
from chord.rewards.numbers import stated_number


def problem(answer: str) -> Problem:
    return Problem(prompt="?", answer=answer, key=0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4042", 4042),
        ("47*6=282;282+3760=4042", 4042),
        ("It costs $1,234.50.", Fraction(2469, 2)),
        ("1,2,3", None),  # commas that separate no thousands: several numbers
        ("12,345,6", None),
        ("x = -3.", -3),
        ("5-3", None),  # a range or a subtraction, neither 3 nor -3
        ("(1)-2", None),
        ("10^-3", None),
        ("\u22125", -5),  # the minus of typeset text
        ("-1/2", Fraction(-1, 2)),
        ("1.5 / 2", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("2.5e-2", Fraction(1, 40)),
        ("#### 1,000", 1000),
        ("3/0", None),
        ("none", None),
        ("", None),
        ("\u0664\u0662", None),  # digits of another script
        ("9" * 5000, None),  # neither slow nor, by its last digits, some other number
        ("7 " + "9" * 101, None),
    ],
)
def test_the_stated_number_is_read(text: str, number: Fraction | None) -> None:
    assert stated_number(text) == number


@pytest.mark.parametrize(
    ("answer", "response", "tolerance", "score"),
    [
        ("4042", "so it is 4,042.", 0.0, 1),
        ("0.5", "1/2", 0.0, 1),
        ("1/3", "0.333", 0.0, 0),
        ("1/3", "0.333", 1e-3, 1),  # off by 1/3000
        ("200", "202", 0.01, 1),  # off by .01 * 200, as allowed
        ("200", "202.1", 0.01, 0),
        ("0.1", "0.13", 0.3, 1),  # off by .3 * .1; 0.3 is three tenths, no binary fraction
        ("0.1", "0.4", 0.3, 0),
        ("1000000", "1000001", 1e-6, 0),  # off by 1e-6 * 1000000, but both are whole
        ("-1000000", "-999999", 1e-6, 0),
        ("1000000", "1000000.5", 1e-6, 0),
        ("1000000.5", "1000000", 1e-6, 0),
        ("1000000000001", "1e12", 1e-6, 0),
        ("5", "5.000001", 1e-6, 1),
        ("5", "5.000002", 1e-6, 0),
        ("1/3", "0.333333", 1e-6, 1),  # off by 1/3 * 1e-6
        ("1234567.891", "1234567.89", 1e-6, 1),
        ("0.0000005", "0", 1e-6, 0),  # nothing but itself is next to a small number
        ("0.0000005", "0.0000006", 1e-6, 0),
        ("0", "0.0000005", 1e-6, 0),
        ("0", "0.5", 0.9, 0),
        ("0", "-0.0", 1e-6, 1),
        ("-2", "2", 0.0, 0),
        ("4042", "", 0.0, 0),
        ("#### 18", "18 eggs", 0.0, 1),
        ("He sells 16 - 7 = <<16-7=9>>9 eggs.\n#### 9", "9", 0.0, 1),
        ("He sells 9.\n#### 1,009\n", "16 - 7 = 9\n#### 1009", 0.0, 1),
    ],
)
def test_numbers_are_compared_as_fractions(
    answer: str, response: str, tolerance: float, score: float
) -> None:
    assert Numeric(tolerance=tolerance).score(problem(answer), response) == score


def test_an_answer_without_a_number_costs_its_own_responses_and_not_the_run() -> None:
    numeric = Numeric()
    with pytest.raises(ValueError, match=r"^reward=numeric: the answer 'Paris' .* use reward=text"):
        numeric.prepare(problem("Paris"))
    first, second = numeric.graded([problem("Paris"), problem("4")], ["4", "4"], [1, 1])
    assert (first.score, first.reward) == (0, 0)
    assert first.failure is not None
    assert second == Grade(1.0, 1.0)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("156", "156"),
        ("Twelve times 13. The answer is **156**.", "156"),
        ("Answer: 12\nThat is all.", "12"),
        ("**Final answer:** yes.", "yes"),
        ("### Final Answer\n\nyes.\n\nI hope it helps.", "yes"),
        ("**Answer**\nA*\nThat is all.", "A"),
        ("## Answer", "## Answer"),
        ("the answer is hard\nbut the answer is 5", "5"),
        ("the answer to all of it\n42.", "42"),
        ("<answer> 1 </answer> or <answer> 2\n</answer>, the answer is 3", "2"),
        (r"thus \boxed{1} or \boxed{\frac{1}{2}}, answer: 3", r"\frac{1}{2}"),
        (r"\boxed{1", "1"),
        ("</answer> 5", "</answer> 5"),
        ("The answer is 3, or\n#### 5 eggs\n\n", "5 eggs"),
        ("#### 3\nThe answer is 5.", "5"),
        ("##### 5", "##### 5"),
        ("####", "####"),
        ("one\ntwo.\n\n", "two"),
        ("", ""),
    ],
)
def test_the_stated_answer_is_behind_the_strongest_mark(response: str, answer: str) -> None:
    assert stated_answer(response) == answer


@dataclass(kw_only=True)
class Said(Reward):
    """The number that the response says."""

    def score(self, problem: Problem, response: str) -> float:
        return float(response)


def test_a_score_that_is_no_share_is_a_failure_but_any_number_a_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["7.5", "0", "1", "-1", "1.0000000000000002"]
    asked = [problem("1")] * 5, given, [1] * 5
    found = Said().grade(*asked)
    assert [grade.reward for grade in found] == [0, 0, 1, 0, 1.0000000000000002]
    assert [grade.failure is not None for grade in found] == [True, False, False, True, False]
    (warning,) = capsys.readouterr().err.splitlines()
    assert "the verifier returned 7.5, and a score is within [0, 1], at the answer '7.5'" in warning
    parts = {"right": Numeric(), "said": Said()}
    both = Weighted(parts=parts, weights={"right": 1.0, "said": 0.5}, score="right").grade(*asked)
    # The third and the last are right; half of what is said comes on top.
    assert [grade.reward for grade in both] == pytest.approx([3.75, 0, 1.5, -0.5, 1.5])
    assert not [grade for grade in both if grade.failure]


def test_an_answer_of_several_lines_is_kept_whole() -> None:
    assert stated_answer("Here is it.\nAnswer:\n1 2\n3 4\n", lines=True) == "1 2\n3 4"
    assert stated_answer("1 2\n3 4\n", lines=True) == "1 2\n3 4"
    assert Text().score(problem("1 2\n3 4"), "1 2\n3 4") == 1
    assert Text().score(problem("3 4"), "1 2\n3 4") == 1
    assert stated_answer("1 2\n#### 3", lines=True) == "1 2\n#### 3"


def test_of_a_worked_solution_the_last_line_is_compared() -> None:
    solution = problem("It is in France.\n#### Paris")
    assert Text().score(solution, "The answer is Paris.") == 1
    assert Text().score(solution, solution.answer) == 1
    assert Text().score(solution, "France") == 0
    with pytest.raises(ValueError, match="is not one number"):
        Numeric().prepare(problem("One of 3.\n#### Paris"))


@pytest.mark.parametrize(
    "mark", ["<answer>", r"\boxed{", "answer is ", "answer: ", "1,234,", "{", "#### 1\n", "#### "]
)
def test_a_long_response_is_read_in_linear_time(mark: str) -> None:
    # A few milliseconds; a rule that looks back at each mark would take minutes.
    assert stated_answer(mark * 50_000) is not None
    stated_number(mark * 50_000)


@pytest.mark.parametrize(
    ("settings", "response", "score"),
    [
        ({}, " Paris\n", 1),
        ({}, "I think the answer is Paris.", 1),
        ({}, "paris", 0),
        ({"ignore_case": True}, "PARIS", 1),
        ({"part": "whole"}, "Paris ", 1),
        ({"part": "whole"}, "the answer is Paris", 0),
        ({}, "", 0),
    ],
)
def test_texts_are_compared_letter_for_letter(
    settings: dict[str, object], response: str, score: float
) -> None:
    assert Text(**settings).score(problem("Paris"), response) == score  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["-7", "3.5", "yes", "1,000", "#### 18", "", "٤٢", "4 "])
def test_exact_refuses_answers_that_nothing_equals(answer: str) -> None:
    assert Verifier().score(problem(answer), f"1+1={answer}") == 0
    with pytest.raises(ValueError, match=r"^reward=exact: .* use reward=numeric"):
        Verifier().check(problem(answer))
    Verifier().check(problem("042"))


def test_an_empty_response_is_no_answer_even_where_nothing_is_right() -> None:
    assert Text().score(problem(""), "") == 0


def test_the_length_penalty_is_that_of_dapo() -> None:
    # hard 50, soft .8: free up to 40, then -(n - 40) / 10.
    lengths = [1, 40, 41, 45, 49, 50, 51, 500]
    grades = Length(hard=50).grade([problem("")] * 8, [""] * 8, lengths)
    rewards = [grade.reward for grade in grades]
    assert rewards == pytest.approx([0, 0, -0.1, -0.5, -0.9, -1, -1, -1], abs=1e-12)
    assert [grade.score for grade in grades] == pytest.approx([1 + r for r in rewards])


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("<think>2+2\nis 4</think>\n<answer>4</answer>\n", 1),
        ("<think></think><answer></answer>", 1),
        ("<answer>4</answer>", 0),
        ("<think>4</think> so <answer>4</answer>", 0),
        ("well, <think>4</think><answer>4</answer>", 0),
        ("", 0),
    ],
)
def test_a_format_is_of_the_whole_response(response: str, score: float) -> None:
    assert Format().score(problem("4"), response) == score


def weighted(**weights: float) -> Weighted:
    parts = {"answer": Numeric(), "steps": Verifier(format_coef=1.0), "brief": Length(hard=10)}
    return Weighted(parts={name: parts[name] for name in weights}, weights=weights, score="answer")


def test_a_weighted_reward_adds_rewards_and_keeps_one_score() -> None:
    reward = weighted(answer=2.0, steps=0.5, brief=0.25)
    grades = reward.grade([problem("4")] * 3, ["2+2=4", "4.0", "5"], [5, 9, 20])
    # 2 * 1 + .5 * (1 + 1) + .25 * 0; 2 * 1 + .5 * 0 + .25 * -(9 - 8) / 2; 0 + .5 * 1 - .25.
    assert [grade.reward for grade in grades] == pytest.approx([3.0, 1.875, 0.25], abs=1e-12)
    assert [grade.score for grade in grades] == [1, 1, 0]


def test_of_a_cut_answer_the_verdict_is_taken_back_and_penalties_stay() -> None:
    # The empty text has the form of nothing at all, and scores 1.
    anything = Format(pattern=".*", workers=1)
    parts = {"answer": Numeric(), "form": anything, "brief": Length(hard=50), "said": Minus()}
    weights = {"answer": 1.0, "form": 2.0, "brief": 1.0, "said": 0.5}
    asked = [problem("4")] * 3, ["4", "4", ""], [45, 45, 1], [True, False, True]
    try:
        # 45 of 50 tokens, 40 of them free, cost .5; `said` takes half a point off.
        grades = Weighted(parts=parts, weights=weights, score="form").grade(*asked)
        assert [grade.reward for grade in grades] == [2.0, -1.0, 1.5]
        assert [grade.score for grade in grades] == [1, 0, 1]
        # An empty text that was ended is an answer like any other.
        assert [grade.reward for grade in anything.grade(*asked)] == [1, 0, 1]
    finally:
        anything.close()
    brief = Length(hard=50).grade(*asked)
    assert [(grade.score, grade.reward) for grade in brief] == [(0.5, -0.5), (0, -0.5), (1, 0)]


@dataclass(kw_only=True)
class Minus(Reward):
    """A penalty for whatever was said."""

    def score(self, problem: Problem, response: str) -> float:
        return -1.0


def test_a_part_that_fails_adds_nothing_and_the_others_count() -> None:
    (grade,) = weighted(answer=1.0, brief=1.0).graded([problem("Paris")], ["x"], [9])
    assert (grade.score, grade.reward) == (0, -0.5)
    assert grade.failure is not None
    assert grade.failure.reason.startswith("answer: reward=numeric")


def test_of_many_failures_the_first_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    numeric = Numeric()
    for _ in range(2):
        numeric.grade([problem("4"), problem("a"), problem("b")], ["4", "1", "2"], [1, 1, 1])
    (line,) = capsys.readouterr().err.splitlines()
    assert "'a'" in line
    assert "at the answer '1' to '?'" in line


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Numeric(tolerance=-1), r"reward\.tolerance=-1: must be within"),
        (lambda: Text(part="last"), r"reward\.part=last: must be one of stated, whole"),
        (lambda: Length(hard=0), r"reward\.hard=0: must be at least 1"),
        (lambda: Length(hard=5, soft=1.0), r"reward\.soft=1\.0: must be within"),
        (lambda: Format(pattern="("), r"reward\.pattern=\(: missing \)"),
        (lambda: Format(timeout=0), r"reward\.timeout=0: must be above 0"),
        (lambda: Format(workers=0), r"reward\.workers=0: must be at least 1"),
        (lambda: Format(memory=0.1), r"reward\.memory=0\.1: must be at least"),
        (lambda: weighted(brief=1.0), r"reward\.score=answer: must be one of the parts brief"),
        (lambda: weighted(answer=float("nan")), r"reward\.weights\.answer=nan: must be a finite"),
    ],
)
def test_wrong_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make()  # type: ignore[operator]


def test_a_failure_is_a_value() -> None:
    assert Grade.failed("late", timed_out=True) == Grade(0.0, 0.0, Failure("late", True))


@pytest.mark.parametrize("reward", [Numeric(), Auto()])
def test_a_known_answer_is_parsed_once_for_all_responses(reward: Grader) -> None:
    numbers.only_number.cache_clear()
    problems = [Problem("?", answer, key=0) for answer in ("4", "5 - 2 = 3\n#### 3")]
    responses = ["4", "It is 3.", "no", ""] * 4
    asked = [problem for problem in problems for _ in range(8)]
    grades = reward.grade(asked, responses, [1] * 16)
    assert sum(grade.score for grade in grades) == 4
    assert numbers.only_number.cache_info().misses == 2


@pytest.mark.parametrize(("formulas", "warned"), [(1, False), (2, False), (3, True)])
def test_right_answers_in_latex_are_said_to_be_compared_as_texts(
    formulas: int, warned: bool
) -> None:
    reward = Auto()
    for answer in [r"\frac{1}{2}"] * formulas + ["5", "yes"]:
        reward.check(problem(answer))
    said = f"{formulas} of {formulas + 2} right answers hold LaTeX, which reward=auto compares"
    assert (reward.note is not None and reward.note.startswith(said)) is warned


def test_an_answer_in_a_message_ends_in_dots_where_it_is_cut() -> None:
    for reward in (Numeric(), Verifier()):
        with pytest.raises(ValueError, match=rf"the answer '{'a' * 60}\.\.\.' of a problem"):
            reward.check(problem("a" * 61))
        with pytest.raises(ValueError, match=rf"the answer '{'a' * 60}' of a problem"):
            reward.check(problem("a" * 60))
    assert quoted({1: "b" * 60}, 9) == "{1: 'bbbb..."
