"""A data set and a reward that are registered from outside carry a whole run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import small_composed

from chord.config import plugins
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.base import Data, DataConfig
from chord.data.batch import Pair, Problem, Tokenizer
from chord.data.tasks import ALPHABET
from chord.data.tokenizer import CharTokenizer
from chord.rewards import Reward
from chord.run.directory import RunDirectory
from chord.run.training import train

pytestmark = pytest.mark.usefixtures("registry")


@dataclass(kw_only=True)
class Sums(DataConfig):
    """One-digit sums, the smallest data set that can be trained on."""

    def build(self, tokenizer: Tokenizer) -> Data:
        return SumData()


class SumData(Data):
    def __init__(self) -> None:
        self.tokenizer = CharTokenizer(ALPHABET)
        sums = [Problem(f"{a}+{b}=", str(a + b), key=10 * a + b) for a in range(9) for b in (1, 2)]
        self.train, self.parts = sums[8:], {"validation": sums[:4], "test": sums[4:8]}
        self.expert_pairs = [Pair(problem, problem.answer) for problem in self.train]

    @property
    def longest_prompt(self) -> int:
        return 4

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        return [self.train[(step * n + i) % len(self.train)] for i in range(n)]

    def held_out(self, split: str) -> list[Problem]:
        return self.parts[split]

    def held_out_pairs(self, split: str) -> list[Pair]:
        return [Pair(problem, problem.answer) for problem in self.parts[split]]


@dataclass(kw_only=True)
class AsLong(Reward):
    def score(self, problem: Problem, response: str) -> float:
        return float(len(response) == len(problem.answer))


def test_another_data_set_and_reward_are_trained_on_and_evaluated(
    tmp_path: Path, small_models: Path
) -> None:
    for group, name, schema in (("data", "digits", Sums), ("reward", "as_long", AsLong)):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(
            f"# {name}\ndefaults: [/schema/{group}/{name}@_here_, _self_]\n"
        )
        plugins.register(group, name, schema, conf=tmp_path / "conf")
    composed = small_composed(small_models, "data=digits", "reward=as_long")
    outcome = train(parse(composed, TrainConfig), RunDirectory(tmp_path / "run", composed, "run"))
    assert {answer.problem.prompt for answer in outcome.trained.answers} == {
        "2+1=", "2+2=", "3+1=", "3+2="
    }  # fmt: skip
