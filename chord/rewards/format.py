"""Right where a response has the form that was asked for, whatever it says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.rewards.isolated import Isolated


@dataclass(kw_only=True)
class Format(Isolated):
    r"""1 where the whole response, without space at its ends, matches `pattern`, else 0.

    A regular expression of Python's `re`, in which `.` is any character, also a line break. In
    worker processes: some expressions take for ever on some texts.
    """

    option = "format"

    pattern: str = "<think>.*</think>\\s*<answer>.*</answer>"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.pattern, re.DOTALL)
        except re.error as error:
            raise ConfigError(f"reward.pattern={self.pattern}: {error}") from error

    def score(self, problem: Problem, response: str) -> float:
        """1.0 for a match, else 0.0."""
        return float(re.fullmatch(self.pattern, response.strip(), re.DOTALL) is not None)
