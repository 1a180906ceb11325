"""Additional retained skills for any data: tasks and files whose accuracy is measured as well.

`evaluation.retained=[chain_sum, facts.jsonl]` adds the metrics `retained/chain_sum` and
`retained/facts`, which show forgetting.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chord.data.base import SPLITS
from chord.data.batch import Problem, Tokenizer
from chord.data.checking import as_written
from chord.data.columns import Columns
from chord.data.fields import Fields
from chord.data.files import is_data_file, open_rows
from chord.data.gym import questions
from chord.data.skills import Skill
from chord.data.split import SplitShares
from chord.data.tables import Lazy, Problems
from chord.errors import ConfigError
from chord.rewards import Auto, ReasoningGym

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.evaluation.settings import Evaluation

SETTING = "evaluation.retained"
_RESERVED = ("mean", "min")
# Far from each other and from the seeds of training data, because nearby seeds share questions.
_SEEDS = {"validation": 10**8, "test": 2 * 10**8}


def retained_skills(evaluation: Evaluation, data: Data, columns: Columns) -> list[Skill]:
    """Return the skills of `evaluation.retained`.

    Raises ConfigError with the name of an entry that is neither a task nor a file, has the name of
    another skill, or has problems that are trained on.
    """
    taken = {*_RESERVED, *data.retained("validation")}
    skills = []
    for source in evaluation.retained:
        name = name_of(source)
        if name in taken:
            raise ConfigError(f"{SETTING}={source}: a skill named {name} already exists")
        taken.add(name)
        if is_file(source):
            problems, understood = _of_file(source, data, columns)
            skills.append(Skill(name, problems, Auto(ignore_case=True), understood))
        else:
            skills.append(Skill(name, _of_task(source, evaluation, data), ReasoningGym()))
    return skills


def is_file(source: str) -> bool:
    """Return whether an entry is a file, by its suffix or because it exists, and not a task."""
    path = Path(source)
    return source.startswith("hub://") or is_data_file(source) or path.exists()


def retained_files(evaluation: Evaluation) -> dict[str, str]:
    """Return the files of `evaluation.retained`, by setting and skill."""
    return {f"{SETTING}.{name_of(path)}": path for path in evaluation.retained if is_file(path)}


def name_of(source: str) -> str:
    """Return the name of a skill: that of the task, or that of the file without its suffix."""
    return re.sub(r"[^\w.-]+", "_", Path(source).stem) if is_file(source) else source


def _of_file(source: str, data: Data, columns: Columns) -> tuple[dict[str, Lazy[Problem]], str]:
    """The problems of a file, half of them for each split by a hash, and how it was read."""
    file = open_rows(SETTING, source)
    problems = Problems(file, Fields.of(file, columns, "{problem}"))
    keys = problems.keys[problems.first]
    shared = problems.first[data.trains_on(keys)]
    if len(shared):
        raise ConfigError(
            f"{SETTING}={source}: {len(shared)} of its problems are also trained on; none may be "
            f"(the first: {file.where(int(shared.min()))})"
        )
    halves = SplitShares(validation=0.5, test=0.5)
    parts = {split: problems.first[halves.within(split, keys)] for split in SPLITS}
    for split, rows in parts.items():
        if len(rows) == 0:
            raise ConfigError(
                f"{SETTING}={source}: has too few problems ({len(keys)}); none is left for {split}"
            )
    read = partial(_problem, problems, data.tokenizer)
    understood = problems.fields.understood(file, problems.there)
    return {split: Lazy(rows, read) for split, rows in parts.items()}, understood


def _problem(problems: Problems, tokenizer: Tokenizer, row: int) -> Problem:
    return as_written(problems.problem(row), tokenizer)


def _of_task(task: str, evaluation: Evaluation, data: Data) -> dict[str, list[Problem]]:
    """The wanted number of questions per split, or as many as there are; none is in both splits."""
    wanted = {"validation": evaluation.val_retained, "test": evaluation.test_retained}
    seen: set[int] = set()
    parts: dict[str, list[Problem]] = {}
    for split, seed in _SEEDS.items():
        rows = questions(task, wanted[split], seed=seed, setting=SETTING, fewer=True)
        found = [Fields(columns=Columns()).problem(row) for row in rows]
        known = data.trains_on(np.array([problem.key for problem in found], dtype=np.int64))
        parts[split] = [
            problem
            for problem, trained in zip(found, known, strict=True)
            if not trained and problem.key not in seen
        ]
        seen |= {problem.key for problem in parts[split]}
        if not parts[split]:
            raise ConfigError(
                f"{SETTING}={task}: its questions are all trained on, or too few for two splits"
            )
    return parts
