"""The settings of data that are texts, from files: schemas, importable without anything heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chord.data.base import SPLITS, DataConfig
from chord.data.batch import Tokenizer

if TYPE_CHECKING:
    from chord.data.corpus import Corpus

OVERLONG = ("error", "drop")


@dataclass(kw_only=True)
class Columns:
    """The names of the fields; those that a row has not are not read.

    One field may be `answer` and `response`: a worked solution that ends in its result.
    """

    problem: str = "problem"
    answer: str = "answer"
    response: str = "response"
    messages: str = "messages"
    id: str = "id"

    def __post_init__(self) -> None:
        for name, column in vars(self).items():
            same = {other for other, named in vars(self).items() if named == column}
            if not column or not (len(same) == 1 or same == {"answer", "response"}):
                raise ValueError(
                    f"data.columns.{name}={column}: must name a field, another one than the rest; "
                    "answer and response alone may be the same"
                )


@dataclass(kw_only=True)
class TextConfig(DataConfig):
    """What all data that are texts have in common.

    Raises ValueError naming the setting, its value and what is allowed.
    """

    expert_pairs: int | None = None
    """Of the expert's answers to training problems; by default all."""
    pairing: str = "all"
    expert: str | None = None
    """The file with the expert's answers."""
    validation: str = "0.1"
    """What is held out to choose settings by: a share of the problems, or a file."""
    test: str = "0.1"
    """What is held out for the end: a share of the problems, or a file."""
    columns: Columns = field(default_factory=Columns)
    prompt_template: str = "{problem}"
    """The prompt that is made of a problem."""
    overlong: str = "error"
    """What does not fit the model's context: error, or drop to leave it out."""
    expert_style: str | None = None
    """A regular expression that is found in answers in the expert's manner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in SPLITS:
            if (share := self.share(split)) is not None and not 0 < share < 1:
                raise ValueError(
                    f"data.{split}={share:g}: must be a file or a share, between 0 and 1"
                )
        if sum(self.share(split) or 0 for split in SPLITS) >= 1:
            raise ValueError(
                f"data.validation={self.validation}: with data.test={self.test} nothing is left "
                "for training; together they must be below 1"
            )
        if "{problem}" not in self.prompt_template:
            raise ValueError(f"data.prompt_template={self.prompt_template}: must hold {{problem}}")
        if self.overlong not in OVERLONG:
            raise ValueError(f"data.overlong={self.overlong}: must be one of {', '.join(OVERLONG)}")
        try:
            re.compile(self.expert_style or "")
        except re.error as error:
            raise ValueError(
                f"data.expert_style={self.expert_style}: is no regular expression ({error})"
            ) from error

    def share(self, split: str) -> float | None:
        """The share of the problems that a split holds; None where a file is named."""
        try:
            return float(getattr(self, split))
        except ValueError:
            return None

    @property
    def lacks_experts(self) -> str | None:
        return super().lacks_experts or (None if self.expert else "data.expert=null")


@dataclass(kw_only=True)
class FilesConfig(TextConfig):
    """Problems and expert answers from files of the user's: JSON lines, Parquet, Arrow."""

    problems: str

    def files(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in SPLITS if self.share(name) is None}
        expert = {"expert": self.expert} if self.expert else {}
        found = {"problems": self.problems, **expert, **named}
        return {f"data.{name}": path for name, path in found.items()}

    def build(self, tokenizer: Tokenizer) -> Corpus:
        """Read the files once, to know what is in them; `ValueError` names file, line, field."""
        from chord.data.corpus import Corpus
        from chord.data.fields import Fields
        from chord.data.files import open_rows
        from chord.data.tables import Experts, Problems

        fields = Fields(columns=self.columns, template=self.prompt_template)
        problems = Problems(open_rows("data.problems", self.problems), fields)
        experts = None
        if self.expert:
            experts = Experts(open_rows("data.expert", self.expert), fields, problems)
        files = {
            split: Problems(open_rows(f"data.{split}", getattr(self, split)), fields)
            for split in SPLITS
            if self.share(split) is None
        }
        return Corpus(self, tokenizer, problems, experts, files)
