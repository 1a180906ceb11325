"""What every reward scores, and the verifier: it reads the final answer and evaluates nothing."""

from __future__ import annotations

from contextlib import closing

import pytest
from rows.rewards import ROWS

from chord.config.registry import SCHEMAS
from chord.data.batch import Problem
from chord.rewards import Verifier, final_answer, is_well_formed

PROBLEM = Problem(prompt="47*86=", answer="4042", key=0)


def test_every_reward_of_the_registry_has_a_row() -> None:
    missing = SCHEMAS["reward"].keys() - ROWS.keys()
    assert not missing, f"reward={','.join(missing)}: add a row to tests/rows/rewards.py"
    for name, row in ROWS.items():
        assert type(row.reward) is SCHEMAS["reward"][name]
        assert row.scored, name


@pytest.mark.parametrize("name", ROWS)
def test_the_table_of_scores(name: str) -> None:
    row = ROWS[name]
    if row.package is not None:
        pytest.importorskip(row.package)
    answers, responses, scores = zip(*row.scored, strict=True)
    problems = [Problem("?", answer, key=0, details=row.details(answer)) for answer in answers]
    lengths = [len(response) + 1 for response in responses]
    with closing(row.reward) as reward:
        grades = reward.grade(problems, responses, lengths)
        cut = reward.grade(problems, responses, lengths, [False] * len(problems))
    assert not [grade.failure for grade in grades if grade.failure]
    assert [grade.score for grade in grades] == pytest.approx(scores, abs=1e-12)
    assert [grade.score for grade in cut] == [0] * len(problems), "what was cut off is not right"


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("4042", 1.0),
        ("47*6=282;47*80=3760;282+3760=4042", 1.0),
        ("47*6=999;47*80=1;2+2=4042", 1.0),  # only the final answer is judged
        ("47*6=282;47*80=3760;282+3760=4043", 0.0),
        ("4042;", 0.0),
        ("4042=", 0.0),
        ("4043=4042", 1.0),
        ("04042", 0.0),
        ("47*86", 0.0),
        ("4041+1", 0.0),
        ("", 0.0),
        ("=", 0.0),
        ("__import__('os')", 0.0),
        ("\u0664\u0660\u0664\u0662", 0.0),  # digits of another script that int() would read as 4042
    ],
)
def test_score_reads_the_final_answer(response: str, score: float) -> None:
    assert Verifier()(PROBLEM, response) == score


def test_final_answer_is_what_follows_the_last_equals_sign() -> None:
    assert final_answer("1+1=2;2+2=4") == "4"
    assert final_answer("17") == "17"
    assert final_answer("17=") == ""


@pytest.mark.parametrize(
    ("response", "well_formed"),
    [
        ("4042", True),
        ("47*6=282;47*80=3760;282+3760=1", True),
        ("", False),
        ("47*6=282;", False),
        ("47*6=", False),
        ("12;13", False),
    ],
)
def test_well_formed_says_nothing_about_right(response: str, well_formed: bool) -> None:
    assert is_well_formed(response) is well_formed


def test_format_term_is_outside_the_score() -> None:
    verifier = Verifier(format_coef=0.25)
    assert verifier.score(PROBLEM, "4043") == 0.0
    assert verifier.reward(PROBLEM, "4043") == 0.25
    assert verifier.reward(PROBLEM, "4042") == 1.25
    assert verifier.reward(PROBLEM, "40;42") == 0.0


@pytest.mark.parametrize("coef", [-0.1, 1.1, float("nan")])
def test_a_wrong_coefficient_is_refused(coef: float) -> None:
    with pytest.raises(ValueError, match=r"reward\.format_coef=.*: must be within"):
        Verifier(format_coef=coef)
