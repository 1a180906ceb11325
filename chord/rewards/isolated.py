"""Rewards that are scored in worker processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError, check_choice
from chord.io.contents import Contents, changed, difference
from chord.rewards.base import ChangedCodeError, Grade, Reward, ScorerError
from chord.rewards.modules import module_content

if TYPE_CHECKING:
    from chord.rewards.workers import Pool


FIRST = 64
"""A verifier that fails at so many answers before it has scored one is taken to be broken."""
ON_FAILURES = ("stop", "count")


@dataclass(kw_only=True)
class Isolated(Reward):
    """What scores one response after the other, in worker processes with a time limit.

    A `score` that hangs, raises, ends its process or returns no finite number costs that one answer
    its reward; one that does so at each of the first 64 answers, and at what is `harmless`, stops
    the run. A worker imports the module of the class, and neither torch nor the command.
    """

    timeout: float = 10.0
    """Seconds an answer; one that takes longer earns nothing."""
    workers: int = 2
    """Processes that score, of each process that trains."""
    memory: float | None = 4.0
    """GB of address space for each worker; null: no limit, which CUDA needs."""

    on_failures: str = "stop"
    """stop: one that fails at each of the first 64 answers ends the run; count: none does."""

    # (process id, Pool); omegaconf reads annotations, and should not import the pool.
    _pool: ClassVar[Any] = None
    # What the workers' code was when the first of them was started.
    _code: ClassVar[Contents | None] = None
    # How many answers have failed before one was scored, and what the first was.
    _failed: ClassVar[int] = 0
    _first: ClassVar[dict[str, Any] | None] = None
    _works: ClassVar[bool] = False
    # The right answers of problems at whose harmless responses it has failed.
    _unscored: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise ConfigError(f"reward.timeout={self.timeout}: must be above 0, in seconds")
        if self.workers < 1:
            raise ConfigError(f"reward.workers={self.workers}: must be at least 1")
        if self.memory is not None and not self.memory >= 0.5:
            raise ConfigError(f"reward.memory={self.memory}: must be at least 0.5, in GB, or null")

        check_choice("reward.on_failures", self.on_failures, ON_FAILURES)

    def load(self) -> None:
        """Import what `score` needs, in the worker, outside the time limit.

        Raises ConfigError where that is impossible.
        """

    def harmless(self, problem: Problem) -> Sequence[str]:
        """Responses that a verifier that works can score, where others can be too much to evaluate.

        One that scores these is not broken, whatever else it fails at. Without any, all failures
        count as the verifier's own.
        """
        return ()

    def pool(self) -> Pool:
        """The workers of this process: a fork has its own."""
        if self._pool is None or self._pool[0] != os.getpid():
            # Rewards that start no worker do without it.
            from chord.rewards.workers import Pool

            pool = Pool(
                self,
                size=self.workers,
                timeout=self.timeout,
                memory=self.memory,
                beforehand=self.refuse_changed_code,
            )
            self._pool = os.getpid(), pool  # type: ignore[misc]  # of this object alone
        found: Pool = self._pool[1]
        return found

    def code(self) -> Contents:
        """What the source is that a worker would import, by the settings that name it."""
        module = type(self).__module__
        own = None if module.startswith("chord.") else module_content(module)
        return self.contents() if own is None else {"reward": own, **self.contents()}

    def refuse_changed_code(self) -> None:
        """Raise ChangedCodeError where that is not what it was at the first worker's start."""
        now = self.code()
        if self._code is None:
            self._code = now  # type: ignore[misc]  # of this object alone
        for name in changed(self._code, now):
            said = difference(self._code[name], now[name])
            raise ChangedCodeError(name, f"{now[name]['path']}: {said}")

    def prepare(self, problem: Problem) -> None:
        """Start a worker, so that what it can't import is known before the first step."""
        self.pool().start()

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """In the workers, each answer to whoever is free.

        Raises ScorerError where the first 64 have all failed, unless failures are counted only;
        ChangedCodeError where a worker is needed whose code would be another than the first one's.
        """
        grades = self.pool().run(list(zip(problems, responses, strict=True)))
        for problem, response, grade in zip(problems, responses, grades, strict=True):
            self._watch(problem, response, grade)
        return grades

    def _watch(self, problem: Problem, response: str, grade: Grade) -> None:
        if self._works or self.on_failures == "count":
            return
        if grade.failure is None or self._scores_harmless(problem):
            self._works = True  # type: ignore[misc]  # of this object alone
            return
        if self._first is None:
            self._first = {  # type: ignore[misc]
                "reason": grade.failure.reason,
                "prompt": problem.prompt,
                "answer": problem.answer,
                "details": problem.details,
                "response": response,
                "traceback": grade.failure.traceback.splitlines(),
            }
        self._failed += 1  # type: ignore[misc]
        if self._failed == FIRST:
            raise ScorerError(FIRST, self._first["reason"], self._first)

    def _scores_harmless(self, problem: Problem) -> bool:
        """Whether it scores what is harmless, so that another response is itself at fault."""
        harmless = self.harmless(problem)
        if not harmless or problem.answer in self._unscored:
            return False
        grades = self.pool().run([(problem, response) for response in harmless])
        if any(grade.failure for grade in grades):
            self._unscored |= {problem.answer}  # type: ignore[misc]
            return False
        return True

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None and self._pool[0] == os.getpid():
            self._pool[1].close()
        self._pool = None  # type: ignore[misc]
