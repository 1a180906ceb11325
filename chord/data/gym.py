"""Tasks of reasoning-gym: generated questions with verifiers of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chord.data.base import SPLITS
from chord.data.batch import Tokenizer
from chord.data.columns import Columns
from chord.data.text import TextConfig
from chord.errors import ConfigError, first_line, suggest
from chord.io.extras import install

if TYPE_CHECKING:
    from chord.data.corpus import Corpus
    from chord.data.rows import Row

# After this many repeated questions in a row, a task is taken to have no others.
_IN_VAIN = 1000
NO_ANSWER = "(several)"
"""The answer to a question with several right ones; the task's verifier knows them."""


@dataclass(kw_only=True)
class GymConfig(TextConfig):
    """Distinct questions of a reasoning-gym task.

    Without a file, the expert responses are the task's own: a worked solution if it has one,
    otherwise the bare answer.
    """

    option = "reasoning_gym"

    task: str
    task_config: dict[str, Any] = field(default_factory=dict)
    """Settings of the task, with reasoning-gym's names."""
    size: int = 2000
    """Number of distinct questions, over all parts."""
    task_seed: int = 0
    """Selects the questions; independent of the run's seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise ConfigError(f"data.size={self.size}: must be at least 1")
        for split in SPLITS:
            if self.share(split) is None:
                raise ConfigError(
                    f"data.{split}={getattr(self, split)}: must be a share, between 0 and 1"
                )

    def build(self, tokenizer: Tokenizer) -> Corpus:
        """Make the questions; `ConfigError` if the task is unknown or has fewer of them."""
        # Here and below: numpy and an optional package, which settings are read without.
        from chord.data.corpus import Corpus
        from chord.data.fields import Fields
        from chord.data.files import open_rows
        from chord.data.rows import Listed, Rows
        from chord.data.tables import Experts, Problems

        rows = questions(self.task, self.size, seed=self.task_seed, settings=self.task_config)
        own = Fields(columns=Columns(), template=self.prompt_template)
        problems = Problems(Listed(self.task, rows), own)
        answered = [row for row in rows if row["response"] is not None]
        experts = None
        if self.expert:
            source: Rows = open_rows("data.expert", self.expert)
            fields = Fields.of(source, self.columns, self.prompt_template, expert=True)
            experts = Experts(source, fields, problems)
        elif answered:
            experts = Experts(Listed(f"{self.task}'s own", answered), own, problems)
        return Corpus(self, tokenizer, problems, experts)


def questions(
    task: str,
    size: int,
    *,
    seed: int,
    settings: dict[str, Any] | None = None,
    setting: str = "data",
    fewer: bool = False,
) -> list[Row]:
    """`size` distinct questions of a task, as rows that also hold the `task` and its `entry`.

    Question i of a seed is question i - 1 of the next seed, so different questions need a seed that
    is far away. Raises ConfigError naming `setting` if the task is unknown, refuses its settings,
    or has fewer distinct questions and `fewer` is not set.
    """
    from chord.data.split import key_of

    entries = _entries(task, 20 * size + 10 * _IN_VAIN, seed, settings or {}, setting)
    found: dict[int, Row] = {}
    drawn = last = 0
    while len(found) < size and drawn - last < _IN_VAIN:
        try:
            entry = entries[drawn]
        except Exception as error:  # a task raises what its author chose
            raise ConfigError(f"{_named(setting, task)}: fails ({first_line(error)})") from error
        drawn += 1
        if (key := key_of(entry["question"])) not in found:
            found[key], last = _row(task, entry), drawn
    if len(found) < size and not fewer:
        raise ConfigError(
            f"{setting}.size={size}: {task} has {len(found)} distinct questions with these "
            f"settings ({drawn} were drawn); ask for at most that many"
        )
    return list(found.values())


def _row(task: str, entry: dict[str, Any]) -> Row:
    answer = entry["answer"]
    known = answer is not None and str(answer).strip()
    worked = entry.get("metadata", {}).get("answer_cot")
    return {
        "problem": entry["question"],
        "answer": str(answer) if known else NO_ANSWER,
        "response": worked or (str(answer) if known else None),
        "task": task,
        "entry": entry,
    }


def _entries(task: str, size: int, seed: int, settings: dict[str, Any], setting: str) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ConfigError(
            f"{_named(setting, task)}: needs reasoning-gym; {install('reasoning')}"
        ) from error
    if task not in DATASETS:
        named = suggest(task, sorted(DATASETS), where="reasoning_gym.factory.DATASETS has all")
        raise ConfigError(f"{_named(setting, task)}: no such task{named}")
    try:
        return reasoning_gym.create_dataset(task, size=size, seed=seed, **settings)
    except Exception as error:  # a task checks its settings as its author chose
        raise ConfigError(
            f"{setting}.task_config={settings}: {task} refuses it ({first_line(error)})"
        ) from error


def _named(setting: str, task: str) -> str:
    return f"data.task={task}" if setting == "data" else f"{setting}={task}"
