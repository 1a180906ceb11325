"""reasoning-gym's own verifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.io.extras import install
from chord.rewards.isolated import Isolated
from chord.rewards.text import check_part, part_of


@dataclass(kw_only=True)
class ReasoningGym(Isolated):
    """What the verifier of a problem's task gives, 1 or 0 by a threshold.

    `problem.details` holds the `task` and its `entry`, as `data=reasoning_gym` writes them. The
    verifiers give a little for many a wrong answer, and for a right one in a sentence less than 1;
    so the stated answer is taken out first.
    """

    option = "reasoning_gym"

    threshold: float | None = 1.0
    """What the verifier must give for a 1, less is 0; null: its own value, with partial credit."""
    part: str = "stated"
    """What of a response is scored: the answer that it states, or the whole of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part(self.part)
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ConfigError(f"reward.threshold={self.threshold}: must be within (0, 1], or null")

    def load(self) -> None:
        """Import reasoning-gym, and let its verifiers evaluate nothing but arithmetic."""
        if find_spec("reasoning_gym") is None:
            raise ConfigError(f"reward=reasoning_gym: needs reasoning-gym; {install('reasoning')}")
        # Here and below: an optional package, which is imported in a worker alone.
        import reasoning_gym  # noqa: F401

        from chord.rewards.guard import guard_modules, guard_sympy

        guard_sympy()
        guard_modules("reasoning_gym")

    def harmless(self, problem: Problem) -> Sequence[str]:
        """The known answer."""
        return (problem.answer,)

    def prepare(self, problem: Problem) -> None:
        """Raise ConfigError where problems are of no task."""
        if not _of_task(problem):
            raise ConfigError(
                "reward=reasoning_gym: the problems are of no task of it; use data=reasoning_gym, "
                "or another reward"
            )
        super().prepare(problem)

    def score(self, problem: Problem, response: str) -> float:
        """What the task's verifier gives; an empty response gets 0."""
        if not _of_task(problem):
            raise ConfigError("the problem is of no task of reasoning-gym")
        if not response:
            return 0.0
        said = part_of(response, self.part, problem.answer)
        given = _scorer(problem.details["task"])(said, problem.details["entry"])
        return given if self.threshold is None else float(given >= self.threshold)


def _of_task(problem: Problem) -> bool:
    return isinstance(problem.details, dict) and {"task", "entry"} <= problem.details.keys()


@cache
def _scorer(task: str) -> Callable[[str, Any], float]:
    from reasoning_gym.factory import get_score_answer_fn

    scorer: Callable[[str, Any], float] = get_score_answer_fn(task)
    return scorer
