"""Each expert response is graded once, and as a rollout with the same tokens would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_templates import tokenizer_of
from texts import Row, write
from tokenizers import normalizers

from chord.config.root import TrainConfig
from chord.data.batch import Pair, Problem, collate_pairs
from chord.data.corpus import Corpus
from chord.data.expert_grades import ExpertGrades
from chord.data.jsonl import FilesConfig
from chord.models.models import Models
from chord.rewards import Grade, Reward
from chord.rollout.prefix import Given
from chord.run.build import open_data
from chord.run.experts import grade_experts
from chord.step.demonstrations import Imitation, last_turns

Build = Callable[..., TrainConfig]


class Equal(Reward):
    """Whether a response is the right answer; keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.broken = False

    def score(self, problem: Problem, response: str) -> float:
        self.seen.append(response)
        return 2.0 if self.broken else float(response == problem.answer)


def conversations(path: Path) -> Corpus:
    """Rows of one turn and of several, in a tokenizer that writes a small 2 as a 2."""
    rows: list[Row] = []
    for n in range(40):
        turns = ["go", f"{n}\u00b2"] if n % 2 else [f"{n}\u00b2"]
        said = [("user", f"{n}?"), *(("assistant", turn) for turn in turns)]
        if n % 2:
            said.insert(2, ("user", "and?"))
        messages = [{"role": role, "content": text} for role, text in said]
        rows.append({"problem": f"{n}?", "answer": f"{n}\u00b2", "messages": messages})
    file = str(write(path / "c.jsonl", rows))
    tokenizer = tokenizer_of("chatml")
    tokenizer.inner.backend_tokenizer.normalizer = normalizers.NFKC()
    config = FilesConfig(problems=file, expert=file, validation="0")
    return config.build(replace(tokenizer))


def imitation(config: TrainConfig, data: Any, reward: Reward) -> Imitation:
    config.reward = reward
    return Imitation(config, data, Models(config.model.build()))


def test_the_last_turn_is_read_from_its_tokens_as_in_a_rollout(
    tmp_path: Path, small_config: Build
) -> None:
    data, reward = conversations(tmp_path), Equal()
    pairs = data.pairs(0, 0, 8)
    assert {bool(pair.turns) for pair in pairs} == {True, False}
    pairs[0] = replace(pairs[0], problem=replace(pairs[0].problem, answer="none"))
    tokens = collate_pairs(pairs, data.tokenizer)
    turns = [Given(*data.tokenizer.response(pair)).turn for pair in pairs]
    assert last_turns(tokens) == turns
    signal = imitation(small_config("weighting=adaptive"), data, reward)._signal(pairs, tokens)
    assert reward.seen == [data.tokenizer.decode(turn) for turn in turns]
    # As they were written in the file, none would be right; now all are but the first.
    assert reward.seen[1:] == [pair.problem.answer for pair in pairs[1:]]
    assert all(pair.response not in reward.seen for pair in pairs)
    assert signal.tolist() == [0.0] + [1.0] * 7


def test_what_the_start_has_graded_is_graded_by_no_step(small_config: Build) -> None:
    config = small_config("weighting=adaptive", "data.expert_check=warn", "data.expert_pairs=8")
    reward = Equal()
    config.reward = reward
    with open_data(config) as data:
        steps = imitation(config, data, reward)
        before = grade_experts(config, data)
        assert before is not None
        assert len(reward.seen) == 8
        for step in range(6):  # 3 a step: each of the 8 more than once
            steps.stream(step)
        assert len(reward.seen) == 8
        # A run that goes on has graded nothing at its start.
        del data.expert_grades
        for step in range(6):
            steps.stream(step)
        assert len(reward.seen) == 16


def test_rows_with_other_contents_are_graded_on_their_own() -> None:
    reward, grades = Equal(), ExpertGrades()

    def scores(pairs: Sequence[Pair]) -> list[float]:
        found: list[Grade] = grades.of(reward, pairs, [p.response for p in pairs], [1] * len(pairs))
        return [grade.score for grade in found]

    pair = Pair(Problem("1+1?", "2", 0, details={"level": 1}), "2")
    other = replace(pair, problem=replace(pair.problem, details={"level": 2}))
    wrong = replace(pair, response="3")
    assert scores([pair, wrong, pair, other]) == [1.0, 0.0, 1.0, 1.0]
    assert reward.seen == ["2", "3", "2"]
    assert scores([other, wrong]) == [1.0, 0.0]
    assert len(reward.seen) == 3


def test_a_scorer_that_failed_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    reward, grades = Equal(), ExpertGrades()
    pair = Pair(Problem("1+1?", "2", 0), "2")
    reward.broken = True
    assert grades.of(reward, [pair], ["2"], [1])[0].failure is not None
    assert "the verifier returned 2" in capsys.readouterr().err
    reward.broken = False
    assert grades.of(reward, [pair], ["2"], [1])[0].score == 1
