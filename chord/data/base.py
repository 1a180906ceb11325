"""The interface of a data set: everything that training and evaluation need from it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from chord.data.batch import Pair, Problem, Tokenizer, at_start, whole_length
from chord.data.expert_grades import ExpertGrades
from chord.data.skills import Skill
from chord.data.statistics import Lengths
from chord.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray


PAIRINGS = ("separate", "paired", "all")
EXPERT_CHECKS = ("stop", "warn", "skip")
SPLITS = ("validation", "test")


@dataclass(kw_only=True)
class DataConfig(ABC):
    """The settings of a data set, a dataclass; `build()` makes the data set.

    Raises ConfigError naming the setting, its value and what is allowed.
    """

    expert_pairs: int | None = 256
    """Number of problems with an expert response; 0 for data without an expert, null for all."""
    expert_batch: int = 32
    """Expert demonstrations in each train step; 0 turns the stream off."""
    pairing: str = "separate"
    """separate: RL uses problems without an expert response; paired: only those with one; all:
    both."""
    preview: int = 0
    """Number of examples printed at the start of a run."""
    expert_check: str = "stop"
    """Before the first step, the reward scores the expert's responses. If all of them get 0, stop
    ends the run and warn only says so, with the likely reason; skip does not score them."""

    def __post_init__(self) -> None:
        for name in ("expert_pairs", "expert_batch", "preview"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"data.{name}={getattr(self, name)}: must be at least 0")
        check_choice("data.pairing", self.pairing, PAIRINGS)
        check_choice("data.expert_check", self.expert_check, EXPERT_CHECKS)

    @property
    def held_out_sizes(self) -> Mapping[str, int]:
        """The held-out sizes, by the setting of `evaluation` that each one limits.

        A setting that is missing has no limit; an evaluation then takes what is there.
        """
        return {}

    def files(self) -> Mapping[str, str]:
        """The files that `build` reads, by the settings that name them."""
        return {}

    @property
    def validates(self) -> bool:
        """Whether problems are held out for validation."""
        return True

    @property
    def drops(self) -> bool:
        """Whether rows that do not fit the context are left out."""
        return False

    @property
    def lacks_experts(self) -> str | None:
        """The setting that is the reason why there are no expert demonstrations."""
        return "data.expert_pairs=0" if self.expert_pairs == 0 else None

    @property
    def teacher_departs(self) -> str | None:
        """The setting that makes expert responses differ from what the teacher would write."""
        return None

    @abstractmethod
    def build(self, tokenizer: Tokenizer) -> Data:
        """The data set with these settings, for a model with that tokenizer.

        Raises ConfigError if the tokenizer can't encode its texts.
        """

    def build_unscored(self, tokenizer: Tokenizer) -> Data:
        """`build` for a run that samples no responses while it trains, as SFT alone does.

        Of its problems no right answers need be known.
        """
        return self.build(tokenizer)


@dataclass(frozen=True, kw_only=True)
class Room:
    """In tokens: the model's context, and the room that rollouts and evaluations need in it."""

    context: int
    rollout: int
    evaluation: int


class Data(ABC):
    """Problems, expert demonstrations and held-out data.

    Both streams are pure functions of (step, seed), so a resumed run sees the same data. Training,
    `validation` and `test` have no problem in common. A problem's key is unique over all three and
    seeds the responses to it.
    """

    tokenizer: Tokenizer
    expert_pairs: Sequence[Pair]
    skills: Sequence[Skill] = ()
    """Further retained skills besides `retained`, each with its own verifier."""

    @property
    def unanswered(self) -> str | None:
        """Why the training problems have no right answers, in a sentence; None if they have."""
        return None

    @property
    @abstractmethod
    def longest_prompt(self) -> int:
        """Length in tokens of the longest prompt of all parts and skills."""

    @property
    def longest_pair(self) -> int:
        """Length in tokens of the longest expert response with its prompt; 0 if there is none."""
        return max((whole_length(self.tokenizer, pair) for pair in self.expert_pairs), default=0)

    @abstractmethod
    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """The first `n` RL problems of a train step; a larger `n` adds further ones to these."""

    @abstractmethod
    def held_out(self, split: str) -> Sequence[Problem]:
        """The target problems of `validation` or `test`, at least one.

        Of `validation` none if the settings hold none out.
        """

    @abstractmethod
    def held_out_pairs(self, split: str) -> Sequence[Pair]:
        """Expert responses to problems of `held_out(split)`; without any, evaluations have no
        metrics of imitation."""

    def pairs(self, step: int, seed: int, n: int) -> list[Pair]:
        """The expert demonstrations of a train step: the next `n` of endless shuffled epochs.

        With 256 pairs and n = 32, steps 0 to 7 see every pair once, and steps 8 to 15 once again.
        """
        return [self.expert_pairs[place] for place in self.drawn(step, seed, n)]

    def drawn(self, step: int, seed: int, n: int) -> list[int]:
        """The places of `pairs` in `expert_pairs`."""
        size = len(self.expert_pairs)
        assert size > 0 or n == 0, "there are no expert pairs to draw from"
        places = (divmod(step * n + offset, size) for offset in range(n))
        return [_epoch(seed, epoch, size)[place] for epoch, place in places]

    def where(self, place: int) -> str | None:
        """The file and line of an expert demonstration; None if it has none."""
        return None

    @cached_property
    def expert_grades(self) -> ExpertGrades:
        """The grades of the expert's responses, as far as they have been graded."""
        return ExpertGrades()

    @cached_property
    def _by_key(self) -> dict[int, Pair]:
        return {pair.problem.key: pair for pair in self.expert_pairs}

    def pair_with(self, key: int) -> Pair:
        """The expert demonstration of the problem with that key; KeyError if there is none."""
        return self._by_key[key]

    def trains_on(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the keys (N,) can belong to a training problem, as far as that is known."""
        return np.isin(keys, list(self._by_key))

    def read_experts(self) -> Iterator[tuple[Pair, list[int], list[bool]]]:
        """Expert demonstrations with the tokens of their responses, and which the expert wrote.

        All of them, or a sample of `AT_START`, the same in every run.
        """
        for place in at_start(range(len(self.expert_pairs))):
            pair = self.expert_pairs[place]
            yield pair, *self.tokenizer.response(pair)

    def lengths(self) -> Lengths:
        """Lengths of texts: of all, or of those that `read_experts` gives."""
        read = [(self.tokenizer.prompt(pair.problem), ids) for pair, ids, _ in self.read_experts()]
        responses = [len(ids) for _, ids in read]
        # Without an expert, the problems of one step stand for all.
        prompts = [prompt for prompt, _ in read] or [
            self.tokenizer.prompt(problem) for problem in self.problems(0, 0, 100)
        ]
        return Lengths(
            prompts=[len(prompt) for prompt in prompts],
            responses=responses,
            wholes=[len(prompt) + len(ids) for prompt, ids in read],
            of_responses=len(self.expert_pairs),
        )

    def held_out_lengths(self) -> Lengths:
        """Lengths of held-out prompts, and of the expert responses to them; empty if `report` says
        what is known of them."""
        return Lengths()

    def sources(self) -> list[str]:
        """Lines that say which sources were read, and how their fields were understood."""
        return []

    def overlap(self) -> dict[str, int]:
        """How many of the expert's problems also occur in the held-out parts."""
        held_out = {split: {problem.key for problem in self.held_out(split)} for split in SPLITS}
        return {split: sum(key in keys for key in self._by_key) for split, keys in held_out.items()}

    def fit(self, room: Room) -> None:
        """Check that prompts and responses fit the model's context.

        Raises ConfigError naming the setting that decides how much has to fit.
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
        """Call `check` with the problems that are known beforehand: here, the held-out ones.

        Raises ConfigError naming the problem, if `check` raises it.
        """
        for split in SPLITS:
            for number, problem in enumerate(self.held_out(split), start=1):
                try:
                    check(problem)
                except ValueError as error:
                    raise ConfigError(f"problem {number} of {split}: {error}") from error

    def report(self) -> list[str]:
        """Lines that describe the data, for the start of a run."""
        return []

    def close(self) -> None:
        """Release the resources of the skills' verifiers."""
        for skill in self.skills:
            skill.grader.close()

    def retained(self, split: str) -> Mapping[str, Sequence[Problem]]:
        """Problems of the retained skills, by skill; empty if there are none."""
        return {}

    def is_expert_style(self, response: str) -> bool | None:
        """Whether a response is in the expert's style, right or wrong; None: the data can't tell.

        If the data can't tell, this holds for every response, and there is no `expert_style`
        metric.
        """
        return None


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, size: int) -> list[int]:
    order = list(range(size))
    random.Random(f"pairs/{seed}/{epoch}").shuffle(order)
    return order
