"""A Python function of the user's."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import Parameter
from typing import Any, ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError, check_choice
from chord.rewards.base import Grade, ScaleError, is_number, plain
from chord.rewards.isolated import Isolated
from chord.rewards.modules import module_file
from chord.rewards.signatures import SIGNATURES, columns_of


@dataclass(kw_only=True)
class Function(Isolated):
    """What `package.module:name` returns: a number in [0, 1], in a part of `weighted` any number.

    `signature` says how it is called. With `right_from` the number is the reward on any scale, and
    the score is 1 from `right_from` on and 0 below: with 0, the rewards -2 and .5 score 0 and 1.
    """

    option = "function"

    function: str
    signature: str = "chord"
    """chord, trl or verl: whose arguments it takes, see `chord.rewards.signatures`."""
    right_from: float | None = None
    """The least reward of a right response; None: the reward, in [0, 1], is the score."""

    _loaded: ClassVar[tuple[Callable[..., Any], Mapping[str, Parameter]] | None] = None
    # The fields of the first problem's row, which a function of TRL's signature can ask for.
    _columns: ClassVar[tuple[str, ...] | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z_][\w.]*(?<!\.py):[A-Za-z_]\w*", self.function):
            place, _, name = self.function.partition(":")
            if place.endswith(".py"):
                module = place.removeprefix("./").removesuffix(".py").replace("/", ".")
                raise ConfigError(
                    f"reward.function={self.function}: write {module}:{name}, without .py"
                )
            raise ConfigError(
                f"reward.function={self.function}: must be package.module:name of a Python function"
            )
        check_choice("reward.signature", self.signature, tuple(SIGNATURES))
        if self.right_from is not None and not math.isfinite(self.right_from):
            raise ConfigError(
                f"reward.right_from={self.right_from}: must be a finite number, or null"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_columns": self._columns}

    @property
    def any_scale(self) -> str | None:
        return None if self.right_from is None else f"reward.right_from={self.right_from:g}"

    @property
    def named(self) -> str:
        return f"reward.function={self.function}"

    def outside(self, score: float) -> Grade:
        """No rare failure but a wrong setting: ScaleError, unless failures are counted only."""
        if self.on_failures == "stop":
            raise ScaleError(self.named, score)
        return super().outside(score)

    def files(self) -> dict[str, str]:
        (module,) = self.modules().values()
        place = module_file(module, self._before)
        return {} if place is None else {"reward.function": place}

    def modules(self) -> dict[str, str]:
        return {"reward.function": self.function.partition(":")[0]}

    def load(self) -> None:
        """Import the function; ConfigError where it isn't there or asks for what there is not."""
        module, _, name = self.function.partition(":")
        try:
            found = getattr(import_module(module), name)
        except Exception as error:  # whatever foreign code raises
            said = " ".join(str(error).split())
            raise ConfigError(
                f"reward.function={self.function}: can't be imported "
                f"({type(error).__name__}: {said})"
            ) from error
        if not callable(found):
            raise ConfigError(f"reward.function={self.function}: is no function")
        parameters = inspect.signature(found).parameters
        self._check(parameters)
        self._loaded = found, parameters  # type: ignore[misc]  # of this object alone

    def _check(self, parameters: Mapping[str, Parameter]) -> None:
        """Refuse a function that asks for what there is not."""
        signature = SIGNATURES[self.signature]
        if signature.columns and self._columns is None:
            return
        columns = (self._columns or ()) if signature.columns else ()
        known = tuple(dict.fromkeys((*signature.names, *columns)))
        for name, each in parameters.items():
            several = each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
            if name not in known and each.default is each.empty and not several:
                raise ConfigError(
                    f"reward.function={self.function}: its parameter {name} must be one of "
                    f"{', '.join(known)}, or have a default (reward.signature={self.signature})"
                )

    def prepare(self, problem: Problem) -> None:
        self._columns = tuple(columns_of(problem))  # type: ignore[misc]  # of this object alone
        super().prepare(problem)

    def score(self, problem: Problem, response: str) -> float:
        """The score alone."""
        return self.both(problem, response)[0]  # type: ignore[return-value]

    def both(self, problem: Problem, response: str) -> tuple[object, object]:
        """The score and the reward, from one call."""
        if self._loaded is None:
            self.load()
        assert self._loaded is not None
        (function, parameters), signature = self._loaded, SIGNATURES[self.signature]
        given = signature.given(problem, response)
        if signature.columns:
            # A field of the first row that this one lacks.
            given = {name: [None] for name in self._columns or ()} | given
        if not (signature.whole and any(p.kind == p.VAR_KEYWORD for p in parameters.values())):
            given = {name: value for name, value in given.items() if name in parameters}
        value = function(**given)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        reward = plain(signature.read(value))
        if self.right_from is None or not is_number(reward):
            return reward, reward
        return reward >= self.right_from, reward  # type: ignore[operator]

    def unfinished(self, grade: Grade) -> Grade:
        """Of an empty response that counts as right no more than 0 is left, on any scale."""
        left = min(0.0, grade.reward) if grade.score > 0 else grade.reward
        return replace(grade, score=0.0, reward=left)
