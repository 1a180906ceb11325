"""A Python function of the user's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.rewards.isolated import Isolated
from chord.rewards.modules import module_file

GIVEN = ("problem", "prompt", "answer", "details", "response")
"""What a function can ask for, by the names of its parameters."""


@dataclass(kw_only=True)
class Function(Isolated):
    """What `package.module:name` returns: a number in [0, 1], in a part of `weighted` any number.

    Its parameters have names of `GIVEN`: `def score(answer, response)`, or
    `def score(problem, response)` with the whole `chord.data.batch.Problem`.
    """

    option = "function"

    function: str

    _loaded: ClassVar[tuple[Callable[..., Any], tuple[str, ...]] | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.function):
            raise ConfigError(
                f"reward.function={self.function}: must be package.module:name of a Python function"
            )

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
        parameters = inspect.signature(found).parameters.values()
        fixed = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        names = tuple(parameter.name for parameter in fixed if parameter.name in GIVEN)
        for parameter in fixed:
            if parameter.name not in names and parameter.default is parameter.empty:
                raise ConfigError(
                    f"reward.function={self.function}: its parameter {parameter.name} must be one "
                    f"of {', '.join(GIVEN)}, or have a default"
                )
        self._loaded = found, names  # type: ignore[misc]  # of this object alone

    def score(self, problem: Problem, response: str) -> float:
        """What the function returns."""
        if self._loaded is None:
            self.load()
        assert self._loaded is not None
        function, names = self._loaded
        given = {
            "problem": problem,
            "prompt": problem.prompt,
            "answer": problem.answer,
            "details": problem.details,
            "response": response,
        }
        value: float = function(**{name: given[name] for name in names})
        return value
