"""Functions that were written for TRL or verl, and rewards on any scale."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from chord.data.batch import Problem, Turn
from chord.data.columns import Columns
from chord.data.fields import Fields
from chord.data.rows import Row
from chord.rewards import Format, Function, Grade, Grader, Reward, Weighted
from chord.rewards.base import ScaleError
from chord.rewards.signatures import SIGNATURES

ROW: Row = {"problem": "2+2=", "answer": "4", "level": 3, "trainer": "row", "completion": "no"}
PROBLEM = Fields().problem(ROW)


def function(name: str, **settings: Any) -> Function:
    """In this process: how a function is called is the same there."""
    made = Function(function=f"scorers:{name}", **settings)
    made._columns = ("answer", "source", "problem", "level", "trainer")  # type: ignore[misc]
    return made


def both(reward: Function, response: str, problem: Problem = PROBLEM) -> tuple[object, object]:
    return reward.both(problem, response)


def test_a_function_of_trl_gets_lists_and_the_columns_of_the_row() -> None:
    trl = function("trl_columns", signature="trl", right_from=3)
    assert both(trl, "4") == (True, 3.0)
    assert both(trl, "5") == (False, 2.0)
    # No number: a failure, as any other.
    assert both(trl, "skip") == (None, None)
    without = replace(PROBLEM, details={**ROW, "level": 4})
    assert both(trl, "4", without) == (False, 2.0)
    # What the row lacks and the first row has is None.
    row = {name: value for name, value in ROW.items() if name != "level"}
    assert both(trl, "4", replace(PROBLEM, details=row)) == (False, 2.0)
    assert both(function("trl_lengths", signature="trl", right_from=2), "aab") == (True, 2.0)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "2+2="}], "answer": "4"},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "2+2="},
            ],
            "answer": "4",
        },
    ],
)
def test_a_conversation_of_the_data_is_one_for_a_function_of_trl(row: Row) -> None:
    problem = Fields(columns=Columns()).problem(row)
    given = SIGNATURES["trl"].given(problem, "4")
    assert given["prompts"] == [row["messages"]]
    assert given["completions"] == [[{"role": "assistant", "content": "4"}]]
    assert given["messages"] == [row["messages"]]


def test_a_text_of_the_data_is_one_unless_it_has_several_turns() -> None:
    assert SIGNATURES["trl"].given(PROBLEM, "4")["completions"] == ["4"]
    turns = replace(PROBLEM, turns=(Turn("system", "Be brief."), Turn("user", "2+2=")))
    (prompt,) = SIGNATURES["trl"].given(turns, "4")["prompts"]
    assert [turn["role"] for turn in prompt] == ["system", "user"]


def test_a_function_of_trl_returns_one_reward_in_a_list() -> None:
    trl = function("trl_float", signature="trl")
    for response in ("one", "two"):
        with pytest.raises(ValueError, match="a list with one reward was expected, not "):
            both(trl, response)


def test_a_function_of_verl_gets_the_fields_of_verls_files() -> None:
    row = {
        "prompt": [{"role": "user", "content": "2+2="}],
        "data_source": "gsm8k",
        "reward_model": {"style": "rule", "ground_truth": 4},
        "extra_info": {"index": 7},
    }
    problem = replace(PROBLEM, details=row)
    assert both(function("compute_score", signature="verl"), "arguments", problem) == (1.0, 1.0)
    assert both(function("compute_score", signature="verl", right_from=0), "4") == (True, 1.0)
    assert both(function("compute_score", signature="verl", right_from=0), "5") == (False, -1.0)
    assert both(function("verl_plain", signature="verl"), "4") == (1.0, 1.0)
    with pytest.raises(ValueError, match="the dictionary has no 'score', but acc, pred"):
        both(function("compute_score", signature="verl"), "no score")


@pytest.mark.parametrize(
    ("signature", "name", "message"),
    [
        ("trl", "trl_state", "parameter trainer_state must be one of prompts, completions, answer"),
        ("trl", "same", "parameter response must be one of prompts, completions, answer, source"),
        ("verl", "same", "parameter problem must be one of data_source, solution_str, ground_tru"),
        ("chord", "compute_score", "parameter data_source must be one of problem, prompt, answer"),
    ],
)
def test_what_the_data_and_chord_lack_is_refused(signature: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^reward\.function=scorers:{name}: its {message}"):
        function(name, signature=signature).load()


@pytest.mark.parametrize("place", ["my_rewards", "tasks.my_rewards"])
def test_a_file_in_place_of_a_module_is_named_as_it_is_written(place: str) -> None:
    file = f"{place.replace('.', '/')}.py"
    for typed in {f"{file}:score", f"./{file}:score", f"{place}.py:score"}:
        with pytest.raises(ValueError, match=rf": write {place}:score, without \.py$"):
            Function(function=typed)
    assert Function(function=f"{place}:score").function == f"{place}:score"


def test_settings_of_a_function_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^reward\.signature=hf: must be one of chord, trl, verl"):
        Function(function="scorers:same", signature="hf")
    with pytest.raises(ValueError, match=r"^reward\.right_from=inf: must be a finite number"):
        Function(function="scorers:same", right_from=float("inf"))


def test_workers_get_the_columns_and_grade_on_any_scale() -> None:
    reward = Function(function="scorers:trl_columns", signature="trl", right_from=2.5, workers=1)
    problems, responses = [PROBLEM] * 4, ["4", "5", "skip", "4"]
    with closing(reward):
        reward.prepare(PROBLEM)
        found = reward.grade(problems, responses, [1] * 4, [True, True, True, False])
        again = reward.grade([replace(PROBLEM, details={"problem": "2+2="})], ["5"], [1])
    assert found[:2] == [Grade(1, 3), Grade(0, 2)]
    assert found[2].failure is not None
    assert "returned 'None', not a finite number" in found[2].failure.reason
    # Cut off: what the empty text earns, which is not right.
    assert found[3] == Grade(0, 2)
    # Neither level nor answer; the names are there, as None.
    assert again == [Grade(0, 1)]


def test_what_was_cut_off_is_not_right_on_any_scale() -> None:
    reward = function("same", right_from=0)
    assert reward.unfinished(Grade(1, 10)) == Grade(0, 0)
    assert reward.unfinished(Grade(1, -3)) == Grade(0, -3)
    assert reward.unfinished(Grade(0, -1)) == Grade(0, -1)
    assert reward.unfinished(Grade(0, 4)) == Grade(0, 4)
    # On the usual scale, as for every reward.
    assert reward.unfinished(Grade(0.5, 0.5)) == Grade(0, 0)


class Here(Function):
    """Scores in this process."""

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        return Reward.graded(self, problems, responses, lengths)


def test_a_score_outside_its_range_stops_and_names_the_setting() -> None:
    reward = Here(function="scorers:minus_one")
    asked = [PROBLEM] * 2, ["4", "2+2=4"], [1, 1]
    cut = [PROBLEM], ["2+2=4"], [1], [False]
    for each in (asked, cut):
        with pytest.raises(ScaleError) as refused:
            reward.grade(*each)  # type: ignore[arg-type]
        assert str(refused.value) == (
            "reward.function=scorers:minus_one: returned -1, and a score is within [0, 1]; "
            "for rewards on another scale set reward.right_from, as in reward.right_from=1"
        )
    parts: dict[str, Grader] = {"mine": reward, "form": Here(function="scorers:always")}
    weights = dict.fromkeys(parts, 1.0)
    weighted = Weighted(parts=parts, weights=weights, score="mine")
    with pytest.raises(
        ScaleError, match=r"^reward\.parts\.mine\.function=scorers:minus_one: .*1"
    ) as w:
        weighted.grade(*asked)
    assert str(w.value).endswith(
        "set reward.parts.mine.right_from, as in reward.parts.mine.right_from=1"
    )
    # A part that gives no score returns any number.
    form = Weighted(parts=parts, weights=weights, score="form")
    assert form.grade(*asked) == [Grade(1, 0), Grade(1, 2)]


def test_a_score_outside_its_range_costs_one_answer_where_failures_are_counted() -> None:
    reward = Here(function="scorers:minus_one", on_failures="count")
    both = reward.grade([PROBLEM] * 2, ["4", "2+2=4"], [1, 1], [True, False])
    # That of the empty text, of what was cut off, is one as any other.
    assert [(grade.score, grade.reward) for grade in both] == [(0, 0), (0, 0)]
    assert all(grade.failure is not None for grade in both)


def test_the_setting_that_allows_any_scale_is_known_in_a_part_too() -> None:
    ours = function("same", right_from=-1)
    assert ours.any_scale == "reward.right_from=-1"
    parts = {"form": Format(), "mine": ours}
    weighted = Weighted(parts=parts, weights={"form": 1.0, "mine": 0.5}, score="form")
    assert weighted.any_scale == "reward.parts.mine.right_from=-1"
    without = Weighted(parts=parts, weights={"form": 1.0, "mine": 0.0}, score="mine")
    assert without.any_scale is None
    assert function("same").any_scale is None


def test_an_asynchronous_function_works_with_every_signature() -> None:
    assert both(function("later"), "4") == (1.0, 1.0)
