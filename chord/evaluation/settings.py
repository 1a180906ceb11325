"""The settings of evaluations, and the names of their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chord.errors import ConfigError, suggest

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
"""The metrics of an evaluation, if the data allow; in addition, `retained/SKILL` for each skill and
`source/NAME` for each source."""
OF_EXPERTS = METRICS[-4:]
"""The metrics that need held-out expert pairs."""
# The names of splits in files and dashboards, and in the data.
PARTS = {"val": "validation", "test": "test"}


@dataclass(kw_only=True)
class Evaluation:
    """How much is evaluated, and when.

    `val` is evaluated before the first train step and after every `every` steps (0: only at the
    end). The final report is on `test`, or on `val` with `test=false`; use that to select settings.
    mean@4 uses four samples per target problem at temperature 1; the other accuracies are greedy.
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
    """Retained skills in addition to those of the data: reasoning-gym tasks and problem files."""

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"evaluation.every={self.every}: must be at least 0")
        for name in (*AMOUNTS, "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)}: must be at least 1")

    def amounts(self, of: str) -> dict[str, int]:
        """Return how many problems to use per split; `of` is `problems` or `retained`.

        The keys are the names that the data use for the splits.
        """
        return {part: getattr(self, f"{split}_{of}") for split, part in PARTS.items()}

    def check_amounts(self, held_out: Mapping[str, int]) -> None:
        """Raise ConfigError if more problems are requested than the data hold out."""
        for name, most in held_out.items():
            if getattr(self, name) > most:
                value = getattr(self, name)
                raise ConfigError(f"evaluation.{name}={value}: must be within [1, {most}]")


def check_metric(name: str, setting: str = "sweep_metric") -> None:
    """Raise ConfigError unless `name` is a validation metric, by which settings may be chosen."""
    split, _, metric = name.partition("/")
    if split == "test":
        raise ConfigError(
            f"{setting}={name}: choose settings on validation, because the test split is used "
            f"only once; use val/{metric}"
        )
    if split != "val" or not (metric in METRICS or metric.startswith(("retained/", "source/"))):
        known = [f"val/{each}" for each in METRICS]
        hint = suggest(name, known, [each for each in known if each == f"val/{name}"])
        raise ConfigError(f"{setting}={name}: must be a validation metric{hint}")
