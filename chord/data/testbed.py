"""The built-in data set: RL problems, expert demonstrations, held-out problems, retained skills.

Both streams are pure functions of (seed, step), so a resumed run needs no stream state. RL problems
are drawn with replacement from the training part; expert demonstrations come in epochs, each
shuffled anew.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from chord.data.base import Data, DataConfig
from chord.data.batch import Pair, Problem, Tokenizer
from chord.data.tasks import (
    ALPHABET,
    FIRST,
    MANNERS,
    RETAINED,
    SECOND,
    TARGET,
    draw_from,
    draw_target,
    is_worked,
    make_problem,
)
from chord.data.tokenizer import CharTokenizer
from chord.errors import ConfigError, check_choice

HELD_OUT = {"validation": 500, "test": 1000}
"""Target problems of the two held-out splits."""
HELD_OUT_PAIRS = 256
RETAINED_PROBLEMS = {"validation": 200, "test": 500}
"""Problems of each retained skill."""

MIN_PRODUCTS = 8000
"""With fewer, parts of the split are too small."""
_MAX_EXPERT_PAIRS = 1024
_TARGETS = {"train": _MAX_EXPERT_PAIRS, **HELD_OUT}


class Sizes(NamedTuple):
    """Ranges of the operands of target problems, both ends included."""

    first: tuple[int, int]
    second: tuple[int, int]


@dataclass(kw_only=True)
class TestbedConfig(DataConfig):
    """The settings of the test bed; `build()` makes the data set.

    Raises ConfigError naming the setting, its value and what is allowed.
    """

    option = "testbed"

    __test__ = False  # pytest takes classes named Test... for test cases

    min_first: int = 3000
    """Difficulty: the range of a target problem's first operand, within 100 to 9999."""
    max_first: int = 9999
    min_second: int = 13
    """Difficulty: the range of a target problem's second operand, within 11 to 99."""
    max_second: int = 99
    manner: str = "worked"
    """The expert's response style: in steps, with the tens first, or directly as the base does."""

    def __post_init__(self) -> None:
        check_choice("data.manner", self.manner, MANNERS)
        for which, (low, high) in {"first": FIRST, "second": SECOND}.items():
            least, most = getattr(self, f"min_{which}"), getattr(self, f"max_{which}")
            _check_range(f"data.min_{which}", least, low, high)
            _check_range(f"data.max_{which}", most, low, high)
            if least > most:
                raise ConfigError(
                    f"data.min_{which}={least}: must be at most data.max_{which}={most}"
                )
        products = (self.max_first - self.min_first + 1) * (self.max_second - self.min_second + 1)
        if products < MIN_PRODUCTS:
            raise ConfigError(
                f"data.max_first={self.max_first}: leaves {products} products with the other "
                f"ranges of operands; must leave at least {MIN_PRODUCTS}"
            )
        if self.expert_pairs is not None:
            _check_range("data.expert_pairs", self.expert_pairs, 0, _MAX_EXPERT_PAIRS)
        _check_range("data.expert_batch", self.expert_batch, 0, _MAX_EXPERT_PAIRS)
        super().__post_init__()

    @property
    def sizes(self) -> Sizes:
        """The ranges of the two operands."""
        return Sizes((self.min_first, self.max_first), (self.min_second, self.max_second))

    @property
    def held_out_sizes(self) -> dict[str, int]:
        return {
            "val_problems": HELD_OUT["validation"],
            "val_retained": RETAINED_PROBLEMS["validation"],
            "test_problems": HELD_OUT["test"],
            "test_retained": RETAINED_PROBLEMS["test"],
            "pairs": HELD_OUT_PAIRS,
        }

    @property
    def teacher_departs(self) -> str | None:
        return None if self.manner == "worked" else f"data.manner={self.manner}"

    def build(self, tokenizer: Tokenizer | None = None) -> Testbed:
        """The data set with these settings, by default in tokens of its own characters."""
        return Testbed(self, tokenizer or CharTokenizer(ALPHABET))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}={value}: must be within [{low}, {high}]")


class Testbed(Data):
    """The test bed's problems, demonstrations and splits, all determined by the configuration.

    RL problems are drawn from the training part: from `all` of it, without (`separate`) or only
    from (`paired`) the problems that have an expert response.
    """

    __test__ = False

    def __init__(self, config: TestbedConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.expert_pairs = [
            self._pair(p) for p in _targets("train", config.sizes)[: config.expert_pairs]
        ]
        self.validation = list(_targets("validation", config.sizes))
        self.test = list(_targets("test", config.sizes))
        self.validation_pairs = [
            self._pair(problem) for problem in self.validation[:HELD_OUT_PAIRS]
        ]
        self.test_pairs = [self._pair(problem) for problem in self.test[:HELD_OUT_PAIRS]]

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt of all parts and skills."""
        sizes = self.config.sizes
        skills = [skill for split in HELD_OUT for skill in self.retained(split).values()]
        largest = make_problem(TARGET, f"{sizes.first[1]}*{sizes.second[1]}=")
        problems = [largest, *(problem for skill in skills for problem in skill)]
        return max(len(self.tokenizer.prompt(problem)) for problem in problems)

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """The RL problems of a train step, drawn with replacement."""
        rng = random.Random(f"problems/{seed}/{step}")
        if self.config.pairing == "paired":
            return [pair.problem for pair in rng.choices(self.expert_pairs, k=n)]
        return [self._unpaired(rng) for _ in range(n)]

    def _pair(self, problem: Problem) -> Pair:
        return Pair(problem=problem, response=MANNERS[self.config.manner](problem))

    def _unpaired(self, rng: random.Random) -> Problem:
        first, second = self.config.sizes
        while True:
            problem = draw_target("train", rng, first=first, second=second)
            if self.config.pairing == "all" or problem.key not in self._by_key:
                return problem

    def sources(self) -> list[str]:
        """The sizes of the parts; nothing is read."""
        return [
            f"the test bed: {len(self.expert_pairs)} expert demonstrations, "
            f"{len(self.validation)} problems for validation, {len(self.test)} for test; "
            "RL problems are made anew in each step"
        ]

    def overlap(self) -> dict[str, int]:
        """How many of the expert's problems also occur in the RL stream and in both held-out parts.

        For the stream: those it may draw.
        """
        drawn = 0 if self.config.pairing == "separate" else len(self._by_key)
        return {"rl": drawn} | super().overlap()

    def held_out(self, split: str) -> list[Problem]:
        """The target problems of `validation` or `test`."""
        return {"validation": self.validation, "test": self.test}[split]

    def held_out_pairs(self, split: str) -> list[Pair]:
        """Expert responses to the first problems of `validation` or `test`."""
        return {"validation": self.validation_pairs, "test": self.test_pairs}[split]

    def retained(self, split: str) -> dict[str, list[Problem]]:
        """Distinct problems of each retained skill in `validation` or `test`."""
        return {skill: list(_retained(skill, split)) for skill in RETAINED}

    def is_expert_style(self, response: str) -> bool:
        """Whether a response has steps, as the expert's has unless its style is direct."""
        return is_worked(response) != (self.config.manner == "direct")


@lru_cache(maxsize=16)
def _targets(part: str, sizes: Sizes) -> tuple[Problem, ...]:
    """As many problems of a part as are ever needed, all distinct, in a fixed random order."""
    rng = random.Random(f"targets/{part}")
    found: dict[int, Problem] = {}
    while len(found) < _TARGETS[part]:
        problem = draw_target(part, rng, first=sizes.first, second=sizes.second)
        found.setdefault(problem.key, problem)
    return tuple(found.values())


@lru_cache(maxsize=16)
def _retained(skill: str, split: str) -> tuple[Problem, ...]:
    assert skill != TARGET, "the target is not a retained skill"
    rng = random.Random(f"retained/{split}/{skill}")
    found: dict[int, Problem] = {}
    while len(found) < RETAINED_PROBLEMS[split]:
        problem = draw_from(split, skill, rng)
        found.setdefault(problem.key, problem)
    return tuple(found.values())
