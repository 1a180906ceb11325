"""The built-in data set: RL problems, expert pairs, held-out problems and retained skills.

Both streams are pure functions of (seed, step), so a resumed run needs no stream state:
RL problems are drawn with replacement from the training part, expert pairs come by epochs that are
each shuffled anew.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from chord.data.batch import Pair, Problem
from chord.data.tasks import (
    ALPHABET,
    MAX_OPERAND,
    RETAINED,
    TARGET,
    draw_from,
    is_worked,
    part_of,
    target_problems,
    worked,
)
from chord.data.tokenizer import CharTokenizer

HELD_OUT = {"validation": 500, "test": 1000}
"""Target problems of the two held-out splits."""
HELD_OUT_PAIRS = 256
RETAINED_PROBLEMS = {"validation": 200, "test": 500}
"""Problems of each retained skill."""

MIN_MAX_OPERAND = 150
_PAIRINGS = ("separate", "paired")
_MAX_EXPERT_PAIRS = 1024


@dataclass(kw_only=True)
class TestbedConfig:
    """What the test bed offers to a run; `build()` makes the data set.

    Raises ValueError naming the setting, its value and what is allowed.
    """

    __test__ = False  # pytest takes classes named Test... for test cases

    max_operand: int = 199
    """Difficulty: the largest first operand of a target problem, e.g. 199 for up to `199*99`."""
    expert_pairs: int = 256
    """Target problems that come with an expert response."""
    expert_batch: int = 32
    """Expert pairs in each train step; 0 turns the stream off."""
    pairing: str = "separate"
    """separate: RL problems have no expert response; paired: they are those that have one."""

    def __post_init__(self) -> None:
        _check_range("data.max_operand", self.max_operand, MIN_MAX_OPERAND, MAX_OPERAND)
        _check_range("data.expert_pairs", self.expert_pairs, 1, _MAX_EXPERT_PAIRS)
        _check_range("data.expert_batch", self.expert_batch, 0, self.expert_pairs)
        if self.pairing not in _PAIRINGS:
            raise ValueError(f"data.pairing={self.pairing}: must be one of {', '.join(_PAIRINGS)}")

    def build(self) -> Testbed:
        """The data set with these settings."""
        return Testbed(self)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name}={value}: must be within [{low}, {high}]")


class Testbed:
    """The test bed's problems, pairs and splits; all of them fixed by the configuration.

    Target problems of the training part are taken in the order of their keys (a hash): the first
    `expert_pairs` come with an expert response. Held-out problems are the first of their part.
    """

    __test__ = False

    def __init__(self, config: TestbedConfig) -> None:
        self.config = config
        self.tokenizer = CharTokenizer(ALPHABET)
        parts = _target_parts(config.max_operand)
        training = parts["train"]
        self.expert_pairs = [_pair(problem) for problem in training[: config.expert_pairs]]
        self.rl_problems = (
            [pair.problem for pair in self.expert_pairs]
            if config.pairing == "paired"
            else list(training[config.expert_pairs :])
        )
        self.validation = list(parts["validation"][: HELD_OUT["validation"]])
        self.test = list(parts["test"][: HELD_OUT["test"]])
        self.validation_pairs = [_pair(problem) for problem in self.validation[:HELD_OUT_PAIRS]]
        self.test_pairs = [_pair(problem) for problem in self.test[:HELD_OUT_PAIRS]]

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """The RL problems of a train step, drawn with replacement."""
        return random.Random(f"problems/{seed}/{step}").choices(self.rl_problems, k=n)

    def pairs(self, step: int, seed: int, n: int) -> list[Pair]:
        """The expert pairs of a train step: the next `n` of an endless row of shuffled epochs.

        With 256 pairs and n = 32, steps 0 to 7 see every pair once, steps 8 to 15 once again.
        """
        size = len(self.expert_pairs)
        places = (divmod(step * n + offset, size) for offset in range(n))
        return [self.expert_pairs[_epoch(seed, epoch, size)[place]] for epoch, place in places]

    def held_out(self, split: str) -> list[Problem]:
        """The target problems of `validation` or `test`."""
        return {"validation": self.validation, "test": self.test}[split]

    def held_out_pairs(self, split: str) -> list[Pair]:
        """Expert responses to the first problems of `validation` or `test`."""
        return {"validation": self.validation_pairs, "test": self.test_pairs}[split]

    def retained(self, split: str) -> dict[str, list[Problem]]:
        """Problems of each retained skill in `validation` or `test`, none of them twice."""
        return {skill: list(_retained(skill, split)) for skill in RETAINED}

    def is_expert_style(self, response: str) -> bool:
        """Whether a response is in the expert's manner, right or wrong."""
        return is_worked(response)


def _pair(problem: Problem) -> Pair:
    return Pair(problem=problem, response=worked(problem))


@lru_cache(maxsize=4)
def _target_parts(max_operand: int) -> dict[str, tuple[Problem, ...]]:
    parts: dict[str, list[Problem]] = {"train": [], "validation": [], "test": [], "pretrain": []}
    for problem in target_problems(max_operand):
        parts[part_of(problem.key)].append(problem)
    return {
        part: tuple(sorted(problems, key=lambda problem: problem.key))
        for part, problems in parts.items()
        if part != "pretrain"
    }


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    random.Random(f"pairs/{seed}/{epoch}").shuffle(order)
    return order


@lru_cache(maxsize=16)
def _retained(skill: str, split: str) -> tuple[Problem, ...]:
    assert skill != TARGET, "the target is not a retained skill"
    rng = random.Random(f"retained/{split}/{skill}")
    found: dict[int, Problem] = {}
    while len(found) < RETAINED_PROBLEMS[split]:
        problem = draw_from(split, skill, rng)
        found.setdefault(problem.key, problem)
    return tuple(found.values())
