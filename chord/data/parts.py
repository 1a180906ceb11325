"""Which problems, and which expert responses to them, are in which part of the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chord.data.base import SPLITS
from chord.data.split import SplitShares
from chord.data.tables import Experts, Numbers, Problems
from chord.data.text import TextConfig
from chord.errors import ConfigError


class Parts:
    """The training, validation and test parts of a table of problems.

    A held-out part is a file of its own, or a share of the problems by a hash of their text.

    Raises ConfigError if two files share a problem.
    """

    def __init__(
        self, config: TextConfig, problems: Problems, files: Mapping[str, Problems]
    ) -> None:
        self.config, self.problems, self.files = config, problems, dict(files)
        self._refuse_shared()
        shares = {split: config.share(split) or 0.0 for split in SPLITS}
        self._shares = SplitShares(validation=shares["validation"], test=shares["test"])

    def train(self) -> Numbers:
        """The rows of the training problems."""
        rows = self.problems.first
        return rows[self._in("train", self.problems.keys[rows])]

    def held_out(self, split: str) -> tuple[Problems, Numbers]:
        """The problems of `validation` or `test`: their table, and the rows in it.

        Raises ConfigError if there are none and the share is not 0.
        """
        table = self.files.get(split)
        if table is not None:
            return table, table.first
        problems = self.problems
        rows = problems.first[self._in(split, problems.keys[problems.first])]
        if len(rows) == 0 and self.config.share(split) != 0:
            raise ConfigError(
                f"data.{split}={getattr(self.config, split)}: none of the {len(problems.first)} "
                f"problems of {problems.rows.name} falls into {split}; give a larger share, a "
                "file, or more problems"
            )
        return problems, rows

    def answers(self, part: str, experts: Experts | None) -> Numbers:
        """Rows of the expert responses to the problems of a part, in the order of their keys."""
        if experts is None:
            return np.zeros(0, dtype=np.int64)
        rows = experts.order
        return rows[self._in(part, experts.keys[rows])]

    def _refuse_shared(self) -> None:
        if len(self.files) == len(SPLITS):
            one, other = (self.files[split] for split in SPLITS)
            shared = np.flatnonzero(np.isin(other.keys, one.keys))
            if len(shared):
                first = int(shared[0])
                before = int(np.flatnonzero(one.keys == other.keys[first])[0])
                raise ConfigError(
                    f"data.test={self.config.test}: shares {len(shared)} problems with "
                    f"data.validation={self.config.validation}; they must have none in common (the "
                    f"first: {other.rows.where(first)}, which is {one.rows.where(before)})"
                )

    def _in(self, part: str, keys: Numbers) -> Numbers:
        """Indices of the keys (N,) that belong to a part; files take precedence over shares."""
        in_file = {split: np.isin(keys, table.keys) for split, table in self.files.items()}
        somewhere = np.any([np.zeros(len(keys), dtype=bool), *in_file.values()], axis=0)
        inside = {
            split: in_file.get(split, ~somewhere & self._shares.within(split, keys))
            for split in SPLITS
        }
        inside["train"] = ~np.any(list(inside.values()), axis=0)
        return np.flatnonzero(inside[part])
