"""The settings of text data from files: schemas that import nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from chord.data.base import SPLITS, DataConfig
from chord.data.columns import Columns
from chord.data.template import fields_in
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
    expert: Any = None
    """The file with the expert demonstrations, or a list of files."""
    validation: str = "0.1"
    """The validation split, for choosing settings: a share of the problems, a file, or 0: none."""
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
        if self.expert is not None:
            self.expert = paths("data.expert", self.expert)
        for split in SPLITS:
            share = self.share(split)
            if getattr(self, split) == "":
                raise ConfigError(f"data.{split}=: must be a file or a share, between 0 and 1")
            if share is None or 0 < share < 1 or (split == "validation" and share == 0):
                continue
            also = ", or 0 for no validation" if split == "validation" else ""
            if share == 0:
                also = "; evaluation.test=false leaves it unused"
            raise ConfigError(
                f"data.{split}={share:g}: must be a file or a share, between 0 and 1{also}"
            )
        if sum(self.share(split) or 0 for split in SPLITS) >= 1:
            raise ConfigError(
                f"data.validation={self.validation}: with data.test={self.test} nothing is left "
                "for training; together they must be below 1"
            )
        if not fields_in(self.prompt_template):
            raise ConfigError(
                f"data.prompt_template={self.prompt_template}: must hold {{problem}}, or another "
                "field in braces"
            )
        check_choice("data.overlong", self.overlong, OVERLONG)
        try:
            re.compile(self.expert_style or "")
        except re.error as error:
            raise ConfigError(
                f"data.expert_style={self.expert_style}: is no regular expression ({error})"
            ) from error

    @property
    def validates(self) -> bool:
        return self.share("validation") != 0

    @property
    def drops(self) -> bool:
        return self.overlong == "drop"

    def share(self, split: str) -> float | None:
        """The share of the problems in a split; None if a file is named."""
        try:
            return float(getattr(self, split))
        except ValueError:
            return None


def paths(setting: str, value: Any) -> str | list[str]:
    """A file, or a list of files; raises ConfigError for anything else."""
    if isinstance(value, list):
        found = [str(each) for each in value if isinstance(each, str | int) and str(each)]
        if found and len(found) == len(value):
            return found if len(found) > 1 else found[0]
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        return str(value)
    raise ConfigError(f"{setting}={value}: must be a file, or a list of files")


def named(setting: str, value: str | list[str]) -> dict[str, str]:
    """The files of a setting by name: those of a list as `data.problems.0` and so on."""
    if isinstance(value, str):
        return {setting: value}
    return {f"{setting}.{number}": path for number, path in enumerate(value)}
