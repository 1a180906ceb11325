"""Problems and expert demonstrations from the user's own files: `data=jsonl`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from chord.data.base import SPLITS
from chord.data.batch import Tokenizer
from chord.data.text import TextConfig, named, paths

if TYPE_CHECKING:
    from chord.data.corpus import Corpus
    from chord.data.rows import Rows
    from chord.data.tables import Problems


@dataclass(kw_only=True)
class FilesConfig(TextConfig):
    """Problems and expert demonstrations from the user's files."""

    option = "jsonl"

    problems: Any
    """The file with the problems, or a list of files."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.problems = paths("data.problems", self.problems)

    @property
    def lacks_experts(self) -> str | None:
        return super().lacks_experts or (None if self.expert else "data.expert=null")

    def files(self) -> dict[str, str]:
        held_out = {name: getattr(self, name) for name in SPLITS if self.share(name) is None}
        expert = {"expert": self.expert} if self.expert else {}
        found: dict[str, str] = {}
        for name, path in ({"problems": self.problems} | expert | held_out).items():
            found |= named(f"data.{name}", path)
        return found

    def build(self, tokenizer: Tokenizer) -> Corpus:
        """Read the files once to index them; `ConfigError` names file, line and field."""
        return self._built(tokenizer, needed=True)

    def build_unscored(self, tokenizer: Tokenizer) -> Corpus:
        """`build`, and from a file in which a row has no right answer, none is read."""
        return self._built(tokenizer, needed=False)

    def _built(self, tokenizer: Tokenizer, *, needed: bool) -> Corpus:
        # numpy takes a moment to load, and settings are read without it.
        from chord.data.absent import refuse_absent
        from chord.data.corpus import Corpus
        from chord.data.fields import Fields
        from chord.data.files import open_rows, same_files
        from chord.data.tables import Experts

        # Without an expert there is nothing but RL, which needs answers.
        must = not self.expert
        table = partial(self._table, must=must, needed=needed or must)
        asked = open_rows("data.problems", self.problems)
        held_out = {
            split: open_rows(f"data.{split}", getattr(self, split))
            for split in SPLITS
            if self.share(split) is None
        }
        same = bool(self.expert) and same_files(self.expert, self.problems)
        rows = asked if same else open_rows("data.expert", self.expert) if self.expert else None
        refuse_absent(self.columns, [asked, *held_out.values()], rows)
        problems = table(asked)
        files = {split: table(each) for split, each in held_out.items()}
        experts = None
        if rows is not None:
            like = problems.fields if same else None
            fields = Fields.of(rows, self.columns, self.prompt_template, expert=True, like=like)
            experts = Experts(rows, fields, problems, files.values())
        return Corpus(self, tokenizer, problems, experts, files)

    def table(
        self, setting: str, path: str | list[str], *, must: bool, needed: bool = True
    ) -> Problems:
        """The problems of a file that `setting` names, which `must` have right answers.

        `needed`: if they have answers, no row may lack one.
        """
        # As above.
        from chord.data.files import open_rows

        return self._table(open_rows(setting, path), must=must, needed=needed)

    def _table(self, rows: Rows, *, must: bool, needed: bool) -> Problems:
        # As above.
        from chord.data.fields import Fields
        from chord.data.tables import Problems, UnansweredError

        fields = Fields.of(rows, self.columns, self.prompt_template, must=must)
        try:
            return Problems(rows, fields)
        except UnansweredError:
            if needed:
                raise
            return Problems(rows, replace(fields, answers=False))
