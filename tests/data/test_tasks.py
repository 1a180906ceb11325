"""The skills: right answers, the expert's manner, a split swapped operands cannot cross."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord.data.tasks import (
    ALPHABET,
    MANNERS,
    PARTS,
    RETAINED,
    TARGET,
    canonical,
    draw,
    draw_from,
    draw_target,
    is_worked,
    key_of,
    make_problem,
    part_of,
    worked,
)
from chord.rewards import final_answer


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("173*86=", "14878"),  # 173 * 86 = 173 * 80 + 173 * 6 = 13840 + 1038
        ("2838+405=", "3243"),
        ("2838-405=", "2433"),
        ("7-7=", "0"),
        ("173*60=", "10380"),
        ("r48390=", "09384"),
        ("s48392=", "23489"),
    ],
)
def test_answers_are_right(prompt: str, answer: str) -> None:
    assert make_problem("any", prompt).answer == answer


def test_worked_response_multiplies_by_units_then_tens_then_adds() -> None:
    # 47 * 86 = 47 * 6 + 47 * 80 = 282 + 3760 = 4042
    assert worked(make_problem(TARGET, "47*86=")) == "47*6=282;47*80=3760;282+3760=4042"


def test_the_other_manners_turn_the_steps_round_or_leave_them_out() -> None:
    problem = make_problem(TARGET, "47*86=")
    assert MANNERS["tens_first"](problem) == "47*80=3760;47*6=282;3760+282=4042"
    assert MANNERS["direct"](problem) == "4042"


@given(left=st.integers(11, 999), right=st.integers(11, 99), manner=st.sampled_from(list(MANNERS)))
def test_every_step_of_an_expert_response_is_true(left: int, right: int, manner: str) -> None:
    problem = make_problem(TARGET, f"{left}*{right}=")
    response = MANNERS[manner](problem)
    if manner != "direct":
        for step in response.split(";"):
            body, result = step.split("=")
            assert make_problem("step", body + "=").answer == result
    assert final_answer(response) == problem.answer == str(left * right)
    assert is_worked(response) == (manner != "direct")


@given(left=st.integers(1, 9999), right=st.integers(1, 9999), sign=st.sampled_from("*+"))
def test_swapped_operands_are_one_problem(left: int, right: int, sign: str) -> None:
    prompt, swapped = f"{left}{sign}{right}=", f"{right}{sign}{left}="
    assert canonical(prompt) == canonical(swapped)
    assert part_of(key_of(prompt)) == part_of(key_of(swapped))


def test_order_matters_where_it_changes_the_answer() -> None:
    assert key_of("9-4=") != key_of("4-9=")
    assert key_of("r12345=") != key_of("r54321=")


def test_keys_are_stable_across_machines() -> None:
    # Recorded once: a change of the hash would move problems between pre-training and test.
    assert key_of("47*86=") == key_of("86*47=") == 394434937679091518
    prompts = ("31*23=", "12*23=", "18*29=")
    assert [part_of(key_of(prompt)) for prompt in prompts] == ["pretrain", "train", "test"]


@pytest.mark.parametrize(
    ("first", "second"), [((100, 999), (11, 19)), ((100, 9999), (21, 29)), ((2000, 2999), (31, 99))]
)
def test_target_operands_stay_within_their_ranges(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    rng = random.Random(0)
    problems = [draw_target("test", rng, first=first, second=second) for _ in range(2000)]
    operands = [[int(n) for n in problem.prompt.rstrip("=").split("*")] for problem in problems]
    lefts = [left for left, _ in operands]
    assert {part_of(problem.key) for problem in problems} == {"test"}
    assert first[0] <= min(lefts) < 1.05 * first[0]
    assert 0.95 * first[1] < max(lefts) <= first[1]
    tens = {*range(10, 100, 10)}
    assert {right for _, right in operands} == {*range(second[0], second[1] + 1)} - tens
    assert not any(left % 10 == 0 for left in lefts)


def test_parts_have_their_shares() -> None:
    parts = [part_of(key_of(f"{first}*23=")) for first in range(100, 20_100)]
    shares = [parts.count(part) / len(parts) for part in PARTS]
    # 20,000 problems: the standard error of a share is at most .0036.
    assert shares == pytest.approx([0.45, 0.25, 0.10, 0.20], abs=0.015)


@pytest.mark.parametrize("skill", [TARGET, *RETAINED])
def test_draws_stay_in_their_part_and_alphabet(skill: str) -> None:
    rng = random.Random(0)
    for part in PARTS:
        for _ in range(30):
            problem = draw_from(part, skill, rng)
            assert part_of(problem.key) == part
            assert problem.skill == skill
            assert problem.prompt.endswith("=")
            assert set(problem.prompt + problem.answer) <= set(ALPHABET)
            assert problem.answer.isdigit()


def test_draws_depend_on_the_seed_alone() -> None:
    assert [draw("addition", random.Random(3)) for _ in range(2)] == [
        draw("addition", random.Random(3)) for _ in range(2)
    ]
