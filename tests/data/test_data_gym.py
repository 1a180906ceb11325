"""Tasks of reasoning-gym as data: distinct questions, the task's own answers, one-line errors."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import compose_config
from texts import TOKENIZER, refusal

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.base import SPLITS
from chord.data.corpus import Corpus
from chord.data.gym import GymConfig, questions
from chord.errors import ConfigError
from chord.run.build import check_experts

# One-digit sums: a - b and a + b, 200 in all.
SHORT = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def built(task: str, **settings: Any) -> Corpus:
    return GymConfig(task=task, **settings).build(TOKENIZER)


def test_questions_are_distinct_and_carry_what_their_scorer_needs() -> None:
    from reasoning_gym.factory import get_score_answer_fn

    rows = questions("chain_sum", 180, seed=0, settings=SHORT)
    assert len({row["problem"] for row in rows}) == 180
    for row in rows[:20]:
        assert get_score_answer_fn(row["task"])(row["answer"], row["entry"]) == 1
    data = built("chain_sum", size=100)
    details = data.problems(0, 0, 1)[0].details
    assert details["task"] == "chain_sum"
    assert details["entry"]["question"] == data.problems(0, 0, 1)[0].prompt


def test_the_questions_are_those_of_the_settings_and_no_others() -> None:
    one, same, other = (questions("chain_sum", 20, seed=seed) for seed in (0, 0, 10**6))
    assert one == same
    assert not {row["problem"] for row in one} & {row["problem"] for row in other}


def test_the_expert_gives_the_tasks_own_answers_in_every_part() -> None:
    data = built("chain_sum", size=100)
    for pairs in (data.expert_pairs, *(data.held_out_pairs(split) for split in SPLITS)):
        assert len(pairs) > 0
        assert all(pair.response == pair.problem.answer for pair in pairs)
    # A worked solution where there is one.
    worked = questions("gsm_symbolic", 3, seed=0)
    assert all(len(row["response"]) > len(row["answer"]) for row in worked)


def test_a_task_without_answers_of_its_own_can_be_trained_by_reward_alone() -> None:
    data = built("rubiks_cube", size=40)
    assert len(data.expert_pairs) == 0
    config = ["data=reasoning_gym", "data.task=rubiks_cube"]
    with pytest.raises(ConfigError, match=r"data\.expert=null: the data have no expert responses"):
        check_experts(parse(compose_config(*config), TrainConfig), data)
    check_experts(parse(compose_config(*config, "schedule=rl_only"), TrainConfig), data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "chain_sums"}, "data.task=chain_sums: no such task; did you mean 'chain_sum'?"),
        (
            {"task": "chain_sum", "size": 300, "task_config": SHORT},
            "data.size=300: chain_sum has 200 distinct questions with these settings",
        ),
        (
            {"task": "chain_sum", "task_config": {"min_terms": 0}},
            "data.task_config={'min_terms': 0}: chain_sum refuses it (min_terms must be positive)",
        ),
        (
            {"task": "chain_sum", "task_config": {"terms": 2}},
            "data.task_config={'terms': 2}: chain_sum refuses it (",
        ),
        ({"task": "chain_sum", "size": 0}, "data.size=0: must be at least 1"),
        ({"task": "chain_sum", "test": "t.jsonl"}, "data.test=t.jsonl: must be a share, between"),
    ],
)
def test_what_a_task_cannot_do_is_said(settings: dict[str, Any], message: str) -> None:
    assert refusal(lambda: built(**settings)).startswith(message)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    said = refusal(lambda: built("chain_sum"))
    assert said.endswith("needs reasoning-gym; pip install 'reasoning-gym>=0.1.20'")
