"""What a data set offers to a run: all that training and evaluation ask of it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from chord.data.batch import Pair, Problem, Tokenizer, whole_length
from chord.data.skills import Skill
from chord.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray


PAIRINGS = ("separate", "paired", "all")
SPLITS = ("validation", "test")


@dataclass(kw_only=True)
class DataConfig(ABC):
    """The settings of a data set, a dataclass; `build()` makes the data set.

    Raises ConfigError naming the setting, its value and what is allowed.
    """

    expert_pairs: int | None = 256
    """Problems that come with an expert response; 0 for data without an expert, null for all."""
    expert_batch: int = 32
    """Expert pairs in each train step; 0 turns the stream off."""
    pairing: str = "separate"
    """separate: RL problems have no expert response; paired: they are those that have one;
    all: they may have one."""
    preview: int = 0
    """So many examples are printed at the start of a run."""

    def __post_init__(self) -> None:
        for name in ("expert_pairs", "expert_batch", "preview"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"data.{name}={getattr(self, name)}: must be at least 0")
        check_choice("data.pairing", self.pairing, PAIRINGS)

    @property
    def held_out_sizes(self) -> Mapping[str, int]:
        """How much is held out, by the settings of `evaluation` that it limits.

        A name that is missing has no limit, and an evaluation takes what is there.
        """
        return {}

    def files(self) -> Mapping[str, str]:
        """The files that `build` reads, by the settings that name them."""
        return {}

    @property
    def lacks_experts(self) -> str | None:
        """The setting because of which there is no expert's answer to imitate."""
        return "data.expert_pairs=0" if self.expert_pairs == 0 else None

    @property
    def teacher_departs(self) -> str | None:
        """The setting because of which the expert's answers are not what the teacher would say."""
        return None

    @abstractmethod
    def build(self, tokenizer: Tokenizer) -> Data:
        """The data set with these settings, for a model with that tokenizer.

        Raises ConfigError where the tokenizer can't write its texts.
        """


@dataclass(frozen=True, kw_only=True)
class Room:
    """Tokens: the model's context, and what answers take of it in rollouts and evaluations."""

    context: int
    rollout: int
    evaluation: int


class Data(ABC):
    """Problems, expert pairs and what is held out.

    Both streams are pure functions of (step, seed), so that a resumed run sees the same. Training,
    `validation` and `test` have no problem in common, and a problem's key is its own in all three:
    it seeds the answers to it.
    """

    tokenizer: Tokenizer
    expert_pairs: Sequence[Pair]
    skills: Sequence[Skill] = ()
    """What is to be kept beside `retained`, each skill with a scorer of its own."""

    @property
    @abstractmethod
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt of all parts and skills."""

    @property
    def longest_pair(self) -> int:
        """Tokens of the longest expert answer with its prompt; 0 where there is none."""
        return max((whole_length(self.tokenizer, pair) for pair in self.expert_pairs), default=0)

    @abstractmethod
    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """The first `n` RL problems of a train step; more of them when more are asked for."""

    @abstractmethod
    def held_out(self, split: str) -> Sequence[Problem]:
        """The target problems of `validation` or `test`, at least one."""

    @abstractmethod
    def held_out_pairs(self, split: str) -> Sequence[Pair]:
        """Expert responses to problems of `held_out(split)`; where there are none, no evaluation
        says how well the expert is imitated."""

    def pairs(self, step: int, seed: int, n: int) -> list[Pair]:
        """The expert pairs of a train step: the next `n` of an endless row of shuffled epochs.

        With 256 pairs and n = 32, steps 0 to 7 see every pair once, steps 8 to 15 once again.
        """
        size = len(self.expert_pairs)
        assert size > 0 or n == 0, "there are no expert pairs to draw from"
        places = (divmod(step * n + offset, size) for offset in range(n))
        return [self.expert_pairs[_epoch(seed, epoch, size)[place]] for epoch, place in places]

    @cached_property
    def _by_key(self) -> dict[int, Pair]:
        return {pair.problem.key: pair for pair in self.expert_pairs}

    def pair_with(self, key: int) -> Pair:
        """The expert pair of the problem with that key; KeyError where there is none."""
        return self._by_key[key]

    def trains_on(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the keys (N,) may be those of a training problem, as far as that is known."""
        return np.isin(keys, list(self._by_key))

    def overlap(self) -> dict[str, int]:
        """How many of the expert's problems also occur in both held-out parts."""
        held_out = {split: {problem.key for problem in self.held_out(split)} for split in SPLITS}
        return {split: sum(key in keys for key in self._by_key) for split, keys in held_out.items()}

    def fit(self, room: Room) -> None:
        """Make sure that prompts and answers fit the model's context.

        Raises ConfigError naming the setting that says how much is to fit.
        """
        longest = self.longest_pair
        if longest > room.context:
            raise ConfigError(
                f"data.expert_pairs={len(self.expert_pairs)}: the longest has {longest} tokens, "
                f"the model's context {room.context}"
            )
        most = room.context - self.longest_prompt
        for group, length in (("rollout", room.rollout), ("evaluation", room.evaluation)):
            if length > most:
                raise ConfigError(
                    f"{group}.max_new_tokens={length}: must be at most {most}, the model's context "
                    "less the longest prompt"
                )

    def check(self, check: Callable[[Problem], None]) -> None:
        """Give `check` the problems that are known beforehand; here, those that are held out.

        Raises ConfigError, saying which it is, where `check` does.
        """
        for split in SPLITS:
            for number, problem in enumerate(self.held_out(split), start=1):
                try:
                    check(problem)
                except ValueError as error:
                    raise ConfigError(f"problem {number} of {split}: {error}") from error

    def report(self) -> list[str]:
        """Lines on what the data hold, for the start of a run."""
        return []

    def close(self) -> None:
        """Give back what the scorers of the skills took."""
        for skill in self.skills:
            skill.grader.close()

    def retained(self, split: str) -> Mapping[str, Sequence[Problem]]:
        """Problems of skills that are to be kept, by skill; none where nothing is to be kept."""
        return {}

    def is_expert_style(self, response: str) -> bool | None:
        """Whether a response is in the expert's manner, right or wrong; None: the data can't tell.

        Where they can't, they can't for any response, and there is no metric `expert_style`.
        """
        return None


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    random.Random(f"pairs/{seed}/{epoch}").shuffle(order)
    return order
