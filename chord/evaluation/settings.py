"""How much is evaluated and when, and the names of what is measured."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from chord.errors import ConfigError

AMOUNTS = ("val_problems", "val_retained", "test_problems", "test_retained", "pairs")
METRICS = (
    "target_accuracy",
    "target_mean4",
    "rl_reward",
    "expert_style",
    "entropy",
    "retained/mean",
    "retained/min",
    "sft_accuracy",
    "expert_nll",
    "balance",
    "balance_at_0.5",
)
"""What an evaluation gives, as far as the data allow; with `retained/SKILL` for each skill."""
OF_EXPERTS = METRICS[-4:]
"""What is measured on held-out expert answers, where there are any."""
# The short names of files and dashboards, and those of the data.
PARTS = {"val": "validation", "test": "test"}


@dataclass(kw_only=True)
class Evaluation:
    """How much is evaluated, and when.

    On `val` every `every` train steps and before the first (0: only at the end). The final report
    is on `test`, or on `val` with `test=false`, which whoever selects settings has to use.
    Four answers at temperature 1 to each target problem give mean@4, the rest is greedy.
    """

    option = "evaluation"

    every: int
    test: bool
    val_problems: int
    val_retained: int
    test_problems: int
    test_retained: int
    pairs: int
    max_new_tokens: int
    retained: list[str] = field(default_factory=list)
    """Skills beside those of the data: tasks of reasoning-gym, and files of problems."""

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"evaluation.every={self.every}: must be at least 0")
        for name in (*AMOUNTS, "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)}: must be at least 1")

    def amounts(self, of: str) -> dict[str, int]:
        """How many `problems` or `retained` problems of a skill, by the data's names of splits."""
        return {part: getattr(self, f"{split}_{of}") for split, part in PARTS.items()}

    def check_amounts(self, held_out: Mapping[str, int]) -> None:
        """Raise ConfigError where more is asked for than the data hold out."""
        for name, most in held_out.items():
            if getattr(self, name) > most:
                value = getattr(self, name)
                raise ConfigError(f"evaluation.{name}={value}: must be within [1, {most}]")


def check_metric(name: str) -> None:
    """Refuse what a sweep can't be judged by; raises ConfigError."""
    split, _, metric = name.partition("/")
    if split == "test":
        raise ConfigError(
            f"sweep_metric={name}: settings are chosen on validation, the test split is read once; "
            f"use val/{metric}"
        )
    if split != "val" or not (metric in METRICS or metric.startswith("retained/")):
        close = difflib.get_close_matches(name, [f"val/{known}" for known in METRICS], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"sweep_metric={name}: must be a metric of the validation{hint}")
