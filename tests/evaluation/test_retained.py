"""Skills that are to be kept, for any data: where their problems come from, how they are scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, compose_config
from language_models import make_model
from texts import corpus, refusal, sums, worked, write

import chord.evaluation.report as evaluation
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.base import SPLITS
from chord.data.batch import Problem
from chord.data.columns import Columns
from chord.data.corpus import Corpus
from chord.data.gym import GymConfig
from chord.evaluation.retained import retained_skills
from chord.evaluation.settings import Evaluation
from chord.rewards import Auto
from chord.run.directory import RunDirectory
from chord.run.training import train

ROWS = sums(60)


def wanted(*retained: str) -> Evaluation:
    return Evaluation(
        every=0, test=True, val_problems=4, val_retained=10, test_problems=4, test_retained=12,
        pairs=4, max_new_tokens=4, retained=list(retained),
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Corpus:
    return corpus(
        write(tmp_path / "p.jsonl", ROWS), write(tmp_path / "e.jsonl", worked(sums(10, start=500)))
    )


def test_a_file_is_halved_and_a_task_asked_for_as_many_as_are_wanted(
    tmp_path: Path, data: Corpus
) -> None:
    facts = write(tmp_path / "my facts.jsonl", sums(40, start=1000))
    one, other = retained_skills(wanted(str(facts), "chain_sum"), data, Columns())
    assert (one.name, other.name) == ("my_facts", "chain_sum")
    assert sum(len(one.problems[split]) for split in SPLITS) == 40
    assert [len(other.problems[split]) for split in SPLITS] == [10, 12]
    for skill in (one, other):
        keys = [{problem.key for problem in skill.problems[split]} for split in SPLITS]
        assert all(keys)
        assert not keys[0] & keys[1]


def test_nothing_that_is_trained_on_is_retained(tmp_path: Path, data: Corpus) -> None:
    trained = data.expert_pairs[0].problem.prompt
    path = write(tmp_path / "f.jsonl", [*sums(40, start=1000), {"problem": trained, "answer": 1}])
    said = refusal(lambda: retained_skills(wanted(str(path)), data, Columns()))
    assert said == (
        f"evaluation.retained={path}: 1 of its problems are also trained on; none may be "
        "(the first: f.jsonl line 41)"
    )
    # One-digit sums are 200 in all: those that are left.
    short = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    gym = GymConfig(task="chain_sum", size=150, task_config=short).build(data.tokenizer)
    (skill,) = retained_skills(wanted("chain_sum"), gym, Columns())
    assert not gym.trains_on(
        np.array([p.key for split in SPLITS for p in skill.problems[split]])
    ).any()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["chain_sums"], "evaluation.retained=chain_sums: no such task; did you mean 'chain_sum'"),
        (["no.jsonl"], "evaluation.retained=no.jsonl: no such file"),
        (["few.jsonl"], "evaluation.retained=few.jsonl: has too few problems (1); none is left"),
        (["min.jsonl"], "evaluation.retained=min.jsonl: a skill named min already exists"),
        (["chain_sum", "chain_sum"], "evaluation.retained=chain_sum: a skill named chain_sum"),
    ],
)
def test_what_cannot_be_retained_is_named(
    tmp_path: Path, data: Corpus, monkeypatch: pytest.MonkeyPatch, sources: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "few.jsonl", sums(1, start=1000))
    assert refusal(lambda: retained_skills(wanted(*sources), data, Columns())).startswith(message)


def test_numbers_are_compared_as_numbers_and_texts_as_texts() -> None:
    match = Auto(ignore_case=True)
    for answer, response, right in (
        ("1,200", "So it is 1200.", 1),
        ("4", "The answer is 5", 0),
        ("3 and 1 make 4.\n#### 4", "It is 4.0 in all.", 1),
        ("Paris", "The answer is paris.", 1),
        ("$18", "It costs 18 dollars.", 1),
        ("Paris", "London", 0),
        ("Paris", "", 0),
    ):
        assert match.score(Problem("?", answer, 0), response) == right, response


def test_a_run_measures_what_is_retained_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_model(tmp_path / "model", max_position_embeddings=256)
    write(tmp_path / "p.jsonl", ROWS)
    write(tmp_path / "facts.jsonl", sums(20, start=1000))
    answer = evaluation.answer

    def knowing(
        policy: object, data: object, problems: Sequence[Problem], *rest: object, **more: object
    ) -> list[evaluation.Answer]:
        # Every fact is known, and nothing else.
        answers = answer(policy, data, problems, *rest, **more)  # type: ignore[arg-type]
        for each in answers:
            each.score = float(len(each.problem.prompt) == len("1000+1000?"))
        return answers

    monkeypatch.setattr(evaluation, "answer", knowing)
    composed = compose_config(
        *SMALL, "model=hf", f"model.path={model}", "teacher=none", "schedule=rl_only", "data=jsonl",
        "data.problems=p.jsonl", "reward=numeric", "data.validation=.2", "data.test=.2",
        "evaluation.retained=[facts.jsonl,chain_sum]",
    )  # fmt: skip
    outcome = train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    for metrics in (outcome.base.metrics, outcome.trained.metrics, outcome.validation):
        assert (metrics["retained/facts"], metrics["retained/chain_sum"]) == (1, 0)
        assert (metrics["retained/mean"], metrics["retained/min"]) == (0.5, 0)
