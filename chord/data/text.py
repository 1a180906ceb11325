"""The settings of text data from files: schemas that import nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chord.data.base import SPLITS, DataConfig
from chord.data.columns import Columns
from chord.errors import ConfigError, check_choice

OVERLONG = ("error", "drop")


@dataclass(kw_only=True)
class TextConfig(DataConfig):
    """What all text data have in common.

    Raises ConfigError naming the setting, its value and what is allowed.
    """

    expert_pairs: int | None = None
    """Number of expert demonstrations of training problems that are used; by default all."""
    pairing: str = "all"
    expert: str | None = None
    """The file with the expert demonstrations."""
    validation: str = "0.1"
    """The validation split, for choosing settings: a share of the problems, or a file."""
    test: str = "0.1"
    """The test split, for the end: a share of the problems, or a file."""
    columns: Columns = field(default_factory=Columns)
    prompt_template: str = "{problem}"
    """The prompt made from a problem."""
    overlong: str = "error"
    """For rows that exceed the model's context: error, or drop to leave them out."""
    expert_style: str | None = None
    """A regular expression that matches somewhere in responses in the expert's style."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            if (share := self.share(split)) is not None and not 0 < share < 1:
                raise ConfigError(
                    f"data.{split}={share:g}: must be a file or a share, between 0 and 1"
                )
        if sum(self.share(split) or 0 for split in SPLITS) >= 1:
            raise ConfigError(
                f"data.validation={self.validation}: with data.test={self.test} nothing is left "
                "for training; together they must be below 1"
            )
        if "{problem}" not in self.prompt_template:
            raise ConfigError(f"data.prompt_template={self.prompt_template}: must hold {{problem}}")
        check_choice("data.overlong", self.overlong, OVERLONG)
        try:
            re.compile(self.expert_style or "")
        except re.error as error:
            raise ConfigError(
                f"data.expert_style={self.expert_style}: is no regular expression ({error})"
            ) from error

    def share(self, split: str) -> float | None:
        """The share of the problems in a split; None if a file is named."""
        try:
            return float(getattr(self, split))
        except ValueError:
            return None
