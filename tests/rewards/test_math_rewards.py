"""Expressions and reasoning-gym tasks are scored by libraries, which evaluate no response."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("math_verify", reason="needs the extra `math`")
rg = pytest.importorskip("reasoning_gym", reason="needs the extra `reasoning`")

from chord.data.batch import Problem  # noqa: E402
from chord.rewards import Grade, Isolated, Math, ReasoningGym  # noqa: E402
from chord.rewards.base import ScorerError  # noqa: E402
from chord.rewards.guard import NotArithmeticError, arithmetic  # noqa: E402


def grade(reward: Isolated, problem: Problem, *responses: str) -> list[Grade]:
    return reward.graded([problem] * len(responses), responses, [1] * len(responses))


@pytest.fixture(scope="module")
def math() -> Iterator[Math]:
    reward = Math(workers=1, timeout=5.0)
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def gym() -> Iterator[ReasoningGym]:
    reward = ReasoningGym(workers=1, timeout=5.0)
    yield reward
    reward.close()


def task(name: str, **settings: object) -> Problem:
    entry = rg.create_dataset(name, size=1, seed=3, **settings)[0]
    return Problem(entry["question"], entry["answer"], 0, details={"task": name, "entry": entry})


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        ("1/2", ["0.5", r"so $\frac{2}{4}$.", r"\boxed{\frac12}", "The answer is 1/2."], ["2", ""]),
        (r"\frac{1}{2}", ["1/2", "$0.5$"], ["1", "$2$"]),
        ("2*x + 1", ["$1 + 2x$", "The answer is 2x+1.", "2*x+1"], ["$2x$", "2x-1"]),
        ("(1, 2)", [r"$(1,2)$", "Answer: (1, 2)"], ["$(2,1)$", "2"]),
        ("1,234", ["1234", "There are 1,234 of them."], ["234"]),
        ("50%", ["The answer is 50%.", r"$\frac{1}{2}$", r"\boxed{50\%}"], ["$5$"]),
        (r"$\sqrt{12}$", [r"\boxed{2\sqrt{3}}"], [r"$\sqrt{13}$"]),
        (
            "6",
            [r"\boxed{5}. Wait, I see now: \boxed{6}", "$\\boxed{5}$, no,\n\n$\\boxed{6}$"],
            [r"\boxed{6}. Wait, it is \boxed{5}", r"\boxed{5}, or \boxed{}"],
        ),
        (
            r"\frac{6}{5}",
            [r"\boxed{5}, so it is \boxed{\frac{\frac{6}{5}}{1}}, ok"],
            [r"\boxed{6}"],
        ),
        ("{5, 6}", [r"\boxed{5,6}", r"$\boxed{\{5, 6\}}$"], [r"\boxed{6}"]),
        (
            "It costs $5 and $7, that is <<5+7=12>>12.\n#### 12",
            ["12", r"\boxed{12}", "$5 and $8 make\n#### 12", "5+7=12\n#### $12"],
            ["$5 and $7 make $12.\n#### 13", "12 or so\n#### 13\n", "7"],
        ),
        ("3", ["x = 1 or so; finally $x = 3$"], ["__import__('os').getpid()"]),
    ],
)
def test_equal_expressions_are_right(
    math: Math, answer: str, right: list[str], wrong: list[str]
) -> None:
    found = grade(math, Problem("?", answer, 0), *right, *wrong)
    assert found == [Grade(1.0, 1.0)] * len(right) + [Grade(0.0, 0.0)] * len(wrong)


@pytest.mark.parametrize(
    ("answer", "right", "wrong"),
    [
        ("1/3", [r"\frac{2}{6}"], ["0.333333"]),
        (r"\sqrt{2}", [], ["1.414214"]),
        (r"\pi", [], ["3.14159265"]),
        ("0.1234567", ["0.12345670"], ["0.1234568"]),
        ("0.0000001", [], [r"\boxed{0.0000004}"]),
        ("4", ["2²", r"2^2"], ["4²", "4^{2}"]),
        ("5", ["x = 5", "5."], ["± 5", r"\pm 5", "5 million", "minus 5", "> 5", r"\neq 5", "5+"]),
        ("5", ["f(x) = 5", "2 + 3 = 5", "x_1 = 5"], ["x+y=5", r"\boxed{5x=5}", r"5 \mod 7"]),
        ("3", ["y=3"], ["2x+y=3"]),
        ("5", ["As $x > 3$ of a million, it is $5$"], ["So $x$ is minus $5$", "So $x$ is $> 5$"]),
        ("5 million", [], ["5"]),
        ("1001_2", ["1001_2", "$1001_{2}$", "1001₂"], ["1001", "1001_3", "1011_2", "1001_{(3)}"]),
        ("1001", [], ["1001 in base 2", r"1001_{\text{two}}", "1001_{(2)}"]),
        ("1/2", ["50%", r"50\%", r"\boxed{50\%}", r"$50\%$"], [r"5\%"]),
        ("50", ["50%", r"50\%"], [r"0.50\%", "50‰", r"50\permil"]),
        (r"5 \pm 1", ["5 ± 1", r"$5 \pm 1$"], ["5", "4", "5 ± 2"]),
        ("5 ± 1", [r"5 \pm 1", "5±1"], ["6", r"5 \pm 2"]),
        (r"\pm 5", ["±5"], ["5"]),
        (r"90^\circ", ["90°", "90", "90 degrees"], [r"9^\circ"]),
        ("5 cm", ["5", r"5\text{ cm}"], ["5 m", r"5\text{ km}", r"5\,\mathrm{mm}"]),
        ("(1, 2)", ["(1,2)", r"\left(1, 2\right)"], ["[1, 2]", "(1, 2]", r"\{1, 2\}"]),
        (r"\{1, 2\}", [r"\{2, 1\}"], ["(1, 2)", "[1, 2]"]),
        ("5", ["≈ 5", r"x \approx 5", "about 5"], [r"x \ne 5", r"x \not= 5", r"x \notin 5"]),
        ("0.333", ["0.333."], ["0.333...", r"0.333\ldots"]),
        ("3", [], ["3:00", "3:4", r"5 \text{ remainder } 3", "5 remainder 3"]),
        ("6", ["6 or so"], ["5 or 6", r"5 \text{ or } 6", r"x=5 \text{ or } x=6"]),
        (
            "5",
            ["5 apples", r"5^{\text{th}}"],
            ["half of 5", r"\text{at least } 5", "5 lakh", "neg 5"],
        ),
        ("30", ["30 minutes"], ["5 hours 30 minutes", r"5\text{ hours }30\text{ minutes}"]),
        ("1001", ["1,001"], ["1001_2"]),
        ("-5", ["−5", "-5", r"\boxed{−5}"], ["5"]),
        ("16", ["4**2", "**16**"], ["4*2"]),
        ("1/2", ["½", "about ½"], ["1½", "0.5½", "1/½"]),
        ("3.5", ["3½", "3 ½", "$3½$", "x = 3½", "It is 3½ m", "3 1/2"], ["3", "-3½", "3.5½"]),
        ("3½", ["3.5", "7/2", "3 1/2"], ["3"]),
        ("2", ["1/½"], ["3 1/2", "3 5/2"]),
        (r"\sqrt{2}", ["2^½"], ["½"]),
        ("x/2", ["½x", "½ x"], ["½"]),
        ("1,234½", ["1234.5"], ["1234", "234.5"]),
        ("18", [r"#### \$18", r"\boxed{\$18}"], []),
        ("1234", [r"\boxed{1\,234}"], []),
        (
            "x=1,y=2",
            ["(1,2)", "y=2, x=1", "1, 2", "(x,y)=(1,2)", r"\boxed{x=1\text{ and }y=2}"],
            ["(2,1)", "2,1", "x=2,y=1", "The answer is (2,1)", "So it is $(2,1)$.", "(x,y)=(2,1)"],
        ),
        ("a=1,b=2,c=3", ["(1,2,3)"], ["(3,2,1)", "(2,1,3)"]),
        ("(1,2)", ["x=1,y=2", "y=2,x=1", "1,2"], ["y=1,x=2", "2,1", "$x=2$ and $y=1$"]),
        ("1,2", ["2,1", "x=1, x=2", "a=2, b=1", r"\{2,1\}"], ["(2,1)", "[1,2]", "1,3"]),
        (r"(3, \pi)", [r"r=3, \theta=\pi"], [r"\theta=3, r=\pi, z=0"]),
        (
            "5",
            ["5.", "5.0"],
            [
                "5...",
                "5…",
                r"5\dots",
                r"5\ldots",
                r"\boxed{5...}",
                r"\boxed{5\,\dots}",
                r"\boxed{5…}",
                "The answer is 5...",
                "$5$...",
            ],
        ),
        (
            "HTH",
            ["HTH", r"\boxed{\text{HTH}}", "The answer is HTH."],
            ["HHT", r"\boxed{\text{HHT}}", "$HHT$"],
        ),
        ("stop", ["stop"], ["pots", r"\mathrm{pots}", "So the word is $pots$."]),
        ("FFAB", ["FFAB"], ["FAFB"]),
        ("HHT, HTT", [r"\boxed{HTT, HHT}"], [r"\boxed{THH, TTH}"]),
        (r"\angle ABC", [r"\angle ABC"], [r"$\angle BAC$"]),
        ("xy", [r"\boxed{yx}", r"$x \cdot y$"], [r"\boxed{xz}"]),
        ("xyz", [r"$z \cdot y \cdot x$", r"\boxed{z y x}"], [r"\boxed{zyx}", r"\boxed{xy}"]),
        (
            "20",
            [
                r"\boxed{20^\circ C}",
                r"$20^\circ C$",
                r"\boxed{20~\text{kg}}",
                "20 °F",
                r"\boxed{\text{20 ways}}",
                r"\boxed{€20}",
                r"\boxed{£20}",
                r"\boxed{20€}",
                r"\boxed{Rs. 20}",
                r"\boxed{USD 20}",
                r"\boxed{20 USD}",
                r"\boxed{US\$20}",
            ],
            [
                r"\boxed{21^\circ C}",
                r"\boxed{\text{20 million}}",
                r"\boxed{\text{half of 20}}",
                r"\boxed{\text{20 or 30}}",
                r"\boxed{\text{30 of 20}}",
                r"\boxed{-€20}",
                "1€20",
            ],
        ),
        ("2", [r"$\lfloor 2.7\rfloor$", r"\boxed{\lceil 3/2 \rceil}"], [r"$\lceil 2.7\rceil$"]),
        ("7", [r"\boxed7", r"so $\boxed7$."], [r"\boxed8"]),
        ("100", ["10^2"], ["1e2"]),
        ("15", ["１５"], ["9" * 5000, "１６", "7" * 1500]),
    ],
)
def test_what_changes_an_expression_is_not_left_out(
    math: Math, answer: str, right: list[str], wrong: list[str]
) -> None:
    found = grade(math, Problem("?", answer, 0), *right, *wrong)
    assert found == [Grade(1.0, 1.0)] * len(right) + [Grade(0.0, 0.0)] * len(wrong)


def test_an_answer_that_is_no_expression_is_a_failure(math: Math) -> None:
    for answer in ("", "0.5½"):
        (found,) = grade(math, Problem("?", answer, 0), "3")
        assert found.failure is not None
        assert "is no expression" in found.failure.reason


@pytest.mark.parametrize(
    "response", [r"$10^{10^{10}}$", "10**10**10", "$" + "(" * 3000 + "1" + ")" * 3000 + "$"]
)
def test_an_expensive_expression_costs_its_answer_alone(
    response: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nor does it count as a scorer that fails at the first answers.
    monkeypatch.setattr("chord.rewards.isolated.FIRST", 1)
    math = Math(workers=1, timeout=1.0)
    found = grade(math, Problem("?", "3", 0), response, "$3$")
    assert [each.score for each in found] == [0, 1]
    math.close()


def test_an_expensive_known_answer_is_a_failure_of_the_scorer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chord.rewards.isolated.FIRST", 1)
    math = Math(workers=1, timeout=1.0)
    with pytest.raises(ScorerError, match="took longer than 1 s"):
        grade(math, Problem("?", "$10^{10^{10}}$", 0), "$3$")
    math.close()


@pytest.mark.slow
def test_a_scorer_of_a_task_is_not_broken_by_an_expensive_expression(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chord.rewards.isolated.FIRST", 1)
    gym = ReasoningGym(workers=1, timeout=1.0)
    (found,) = grade(gym, task("countdown"), "10**10**10")
    assert found.failure is not None
    assert found.failure.timed_out
    gym.close()


@pytest.mark.parametrize(
    ("name", "settings"),
    [("chain_sum", {}), ("letter_counting", {}), ("n_queens", {}), ("countdown", {})],
)
def test_the_scorer_of_a_task_judges_the_stated_answer(
    gym: ReasoningGym, name: str, settings: dict[str, object]
) -> None:
    problem = task(name, **settings)
    marked = f"Let me see.\n<answer>\n{problem.answer}\n</answer>"
    right, wrong, empty = grade(gym, problem, marked, "Answer: none", "")
    assert (right, wrong, empty) == (Grade(1.0, 1.0), Grade(0.0, 0.0), Grade(0.0, 0.0))


def test_without_a_threshold_partial_credit_stays() -> None:
    problem = task("chain_sum")
    partial = ReasoningGym(threshold=None, part="whole", workers=1)
    scorer = rg.create_dataset("chain_sum", size=1, seed=3).score_answer
    sentence = f"The answer is {problem.answer}"
    expected = scorer(sentence, problem.details["entry"])
    assert 0 < expected < 1
    assert grade(partial, problem, sentence, problem.answer) == [
        Grade(expected, expected),
        Grade(1.0, 1.0),
    ]
    partial.close()


def test_problems_without_a_task_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"^reward=reasoning_gym: the problems are of no task"):
        ReasoningGym().prepare(Problem("?", "4", 0))


# Each writes a file where a scorer evaluates the text: as Python, through sympy, as a list.
ATTACKS = (
    "__import__('os').system('touch {file}')",
    "[__import__('os').system('touch {file}')]",
    "sqrt('__import__(chr(111)+chr(115)).system(\\'touch {file}\\')')",
    "open('{file}', 'w')",
    "(lambda: open('{file}', 'w'))()",
    "[c for c in [open('{file}', 'w')]]",
)
# Of the tasks of reasoning-gym 0.1 those whose scorers call eval or sympy's parser on an answer.
EVALUATED = (
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
)


@pytest.mark.parametrize("name", EVALUATED)
def test_no_scorer_runs_what_a_response_says(gym: ReasoningGym, tmp_path: Path, name: str) -> None:
    attacks = [attack.format(file=tmp_path / "mark") for attack in ATTACKS]
    found = grade(gym, task(name), *attacks)
    assert [each.score for each in found] == [0] * len(attacks)
    assert not list(tmp_path.iterdir())


def test_math_runs_nothing_that_a_response_says(math: Math, tmp_path: Path) -> None:
    attacks = [attack.format(file=tmp_path / "mark") for attack in ATTACKS]
    attacks += [f"${attack}$" for attack in attacks] + [rf"\boxed{{{a}}}" for a in attacks]
    found = grade(math, Problem("?", "3", 0), *attacks)
    assert [each.score for each in found] == [0] * len(attacks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "code", ["1", "Integer (2 )+Symbol ('x')*3", "[['_', 'Q'], [1, -2.5]]", "Function ('f')(1)"]
)
def test_arithmetic_may_be_evaluated(code: str) -> None:
    assert arithmetic(code) == code


@pytest.mark.parametrize(
    "code",
    [
        "x.real",
        "[1][0]",
        "open('a')",
        "(lambda: 1)()",
        "[x for x in y]",
        "f'{x}'",
        "{1: 2}",
        "Symbol('x')('y')",
        "Integer(1).func",
        "a if b else c",
        "(a := 1)",
        "*a",
        "import os",
        "max(1, 2, key=open)",
        "(" * 500,
        "1; 2",
        "\0",
    ],
)
def test_all_else_is_refused(code: str) -> None:
    with pytest.raises(NotArithmeticError):
        arithmetic(code)
