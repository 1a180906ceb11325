"""Problems and expert demonstrations from the user's own files: `data=jsonl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.data.base import SPLITS
from chord.data.batch import Tokenizer
from chord.data.text import TextConfig

if TYPE_CHECKING:
    from chord.data.corpus import Corpus


@dataclass(kw_only=True)
class FilesConfig(TextConfig):
    """Problems and expert demonstrations from the user's files: JSON lines, Parquet, Arrow."""

    option = "jsonl"

    problems: str

    @property
    def lacks_experts(self) -> str | None:
        return super().lacks_experts or (None if self.expert else "data.expert=null")

    def files(self) -> dict[str, str]:
        named = {name: getattr(self, name) for name in SPLITS if self.share(name) is None}
        expert = {"expert": self.expert} if self.expert else {}
        found = {"problems": self.problems, **expert, **named}
        return {f"data.{name}": path for name, path in found.items()}

    def build(self, tokenizer: Tokenizer) -> Corpus:
        """Read the files once to index them; `ConfigError` names file, line and field."""
        # numpy takes a moment to load, and settings are read without it.
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
