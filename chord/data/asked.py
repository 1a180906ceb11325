"""The problems of a file that are only asked: all of them are the test split."""

from __future__ import annotations

from dataclasses import dataclass

from chord.data.batch import Problem, Tokenizer
from chord.data.corpus import Corpus
from chord.data.jsonl import FilesConfig


class Asked(Corpus):
    """A corpus in which nothing is trained on."""

    def _take_problems(self) -> None:
        self.rl = self.train

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """As many problems as a reward needs to see beforehand."""
        return list(self.held_out("test")[:n])


@dataclass(kw_only=True)
class AskedConfig(FilesConfig):
    """Settings of files whose problems are only asked."""

    def _built(self, tokenizer: Tokenizer, *, needed: bool) -> Asked:
        table = self.table("problems", self.problems, must=True)
        return Asked(self, tokenizer, table, files={"test": table})
