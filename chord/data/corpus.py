"""Text data: problems, expert responses and held-out data, read from files when needed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from chord.data.base import SPLITS, Data, Room
from chord.data.batch import Pair, Problem, Tokenizer, whole_length
from chord.data.checking import CheckedRows, as_written
from chord.data.fields import Fields
from chord.data.files import shown
from chord.data.lengths import Checked, fitting_answers, fitting_prompts, sift, statistics
from chord.data.parts import Parts
from chord.data.tables import UNKNOWN, Experts, Lazy, Numbers, Problems
from chord.data.text import TextConfig
from chord.errors import ConfigError

LONGEST = 200
"""The number of plain prompts, those with the most text, that are tokenised to find the longest."""
SAMPLE = 1000
"""The number of texts that the statistics are computed from."""


class Corpus(Data):
    """Problems in training, validation and test parts, by a hash of their text or from files.

    An expert response is in the part of its problem, so held-out problems are never imitated. Each
    step's RL problems are distinct. They are drawn from `all` training problems, from those without
    an expert response (`separate`), or from those with one (`paired`).

    Raises ConfigError if a part is empty.
    """

    expert_pairs: Lazy[Pair]

    def __init__(
        self,
        config: TextConfig,
        tokenizer: Tokenizer,
        problems: Problems,
        experts: Experts | None = None,
        files: Mapping[str, Problems] | None = None,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.problem_rows, self.experts = problems, experts
        parts = Parts(config, problems, files or {})
        self.train = parts.train()
        self.held_out_rows = {split: parts.held_out(split) for split in SPLITS}
        self.answers = {part: parts.answers(part, experts) for part in ("train", *SPLITS)}
        self._faults: list[str] = []
        self._checked: list[str] = []
        held_out = (table for table, _ in self.held_out_rows.values())
        self._asked = {
            id(table): CheckedRows(table.rows, partial(self._problem, table), tokenizer.prompt)
            for table in (problems, *held_out)
        }
        self._answered = None
        if experts is not None:
            self._answered = CheckedRows(experts.rows, self._pair, tokenizer.response)
        self._take_experts()
        self._take_problems()

    @property
    def longest_prompt(self) -> int:
        """Length of the longest prompt in any part: of conversations and the largest texts."""
        parts = [(self.problem_rows, self.rl), *self.held_out_rows.values()]
        found = [0]
        for problems, rows in parts:
            sizes = problems.sizes[rows]
            # Nothing is known about conversations beforehand, so all of them are tokenised.
            count = LONGEST + int((sizes == UNKNOWN).sum())
            most = rows[np.argsort(-sizes, kind="stable")][:count]
            found += [len(self.tokenizer.prompt(problems.problem(int(row)))) for row in most]
        return max(found)

    @property
    def longest_pair(self) -> int:
        """Length of the longest expert response with its prompt, found in the same way."""
        if self.experts is None:
            return 0
        rows = self.expert_pairs.rows
        sizes = self.experts.whole_sizes[rows]
        count = LONGEST + int((sizes >= UNKNOWN).sum())
        most = rows[np.argsort(-sizes, kind="stable")][:count]
        pairs = (self.experts.pair(int(row)) for row in most)
        return max((whole_length(self.tokenizer, pair) for pair in pairs), default=0)

    def problems(self, step: int, seed: int, n: int) -> list[Problem]:
        """The RL problems of a train step, all distinct unless there are too few."""
        rng, size = random.Random(f"problems/{seed}/{step}"), len(self.rl)
        drawn: list[int] = []
        while len(drawn) < n:
            # All have been drawn equally often: start again.
            seen = set(drawn[len(drawn) - len(drawn) % size :])
            while (place := rng.randrange(size)) in seen:
                pass
            drawn.append(place)
        read = self._asked[id(self.problem_rows)]
        return [read(int(self.rl[place])) for place in drawn]

    def held_out(self, split: str) -> Sequence[Problem]:
        """The problems of `validation` or `test`, in the order of their keys, which is random."""
        problems, rows = self.held_out_rows[split]
        return Lazy(rows, self._asked[id(problems)])

    def held_out_pairs(self, split: str) -> Sequence[Pair]:
        """The expert responses to held-out problems; there may be none."""
        return self._pairs(self.answers[split])

    def pair_with(self, key: int) -> Pair:
        """The first expert response to a problem; KeyError if there is none."""
        assert self.experts is not None, "there is no expert"
        keys = self.experts.keys[self.expert_pairs.rows]
        at = int(np.searchsorted(keys, key))
        if at == len(keys) or keys[at] != key:
            raise KeyError(key)
        return self.expert_pairs[at]

    @property
    def expert_fields(self) -> Fields:
        """The reader of an expert file's fields."""
        return Fields(columns=self.config.columns, template=self.config.prompt_template)

    def every(self) -> Lazy[Problem]:
        """The problems of all parts except those held out by files, in the order of their keys."""
        return Lazy(self._every(), self._asked[id(self.problem_rows)])

    def place_of(self, key: int) -> int | None:
        """The index in `every` of the problem with a key; None if it is not there."""
        found = np.flatnonzero(self.problem_rows.keys[self._every()] == key)
        return int(found[0]) if len(found) else None

    def _every(self) -> Numbers:
        problems = self.problem_rows
        held_out = [rows for table, rows in self.held_out_rows.values() if table is problems]
        rows = np.concatenate([self.rl, *held_out])
        return rows[np.argsort(problems.keys[rows], kind="stable")]

    def trains_on(self, keys: Numbers) -> NDArray[np.bool_]:
        """Which of the keys (N,) are those of RL problems or of problems the expert answers."""
        own = [self.problem_rows.keys[self.rl]]
        if self.experts is not None:
            own.append(self.experts.keys[self.expert_pairs.rows])
        return np.isin(keys, np.concatenate(own))

    def overlap(self) -> dict[str, int]:
        """How many expert responses are to problems of the RL stream or of another part."""
        if self.experts is None:
            return {"rl": 0, **dict.fromkeys(SPLITS, 0)}
        keys = self.experts.keys[self.expert_pairs.rows]
        others = {"rl": self.problem_rows.keys[self.rl]}
        others |= {split: p.keys[rows] for split, (p, rows) in self.held_out_rows.items()}
        return {part: int(np.isin(keys, other).sum()) for part, other in others.items()}

    def is_expert_style(self, response: str) -> bool | None:
        """Whether `data.expert_style` matches in a response; None if it is not set."""
        style = self.config.expert_style
        return None if style is None else re.search(style, response) is not None

    def check(self, check: Callable[[Problem], None]) -> None:
        """Call `check` with every problem trained on or held out, in one pass over the files.

        Raises ConfigError naming file and line, if `check` raises it.
        """
        parts = [(self.problem_rows, self.rl), *self.held_out_rows.values()]
        for problems in {id(table): table for table, _ in parts}.values():
            used = np.concatenate([rows for table, rows in parts if table is problems])
            wanted = np.zeros(len(problems.rows), dtype=bool)
            wanted[used] = True
            for index, row in enumerate(problems.rows):
                if wanted[index]:
                    try:
                        for each in problems.fields.problem(row).each_answer():
                            check(each)
                    except ValueError as error:
                        raise ConfigError(f"{problems.rows.where(index)}: {error}") from error

    def report(self) -> list[str]:
        """What the files contain, and what of it is used or not."""
        problems, lines = self.problem_rows, []
        sizes = [f"{len(self.held_out_rows[split][1])} {split}" for split in SPLITS]
        for table in self._tables():
            if table.fields.reading is not None:
                lines.append(f"{table.rows.name} {table.fields.reading}")
        line = f"{problems.rows.name}: {len(problems.rows)} problems"
        lines.append(f"{line}; {len(self.train)} for training, {', '.join(sizes)}")
        if problems.repeated:
            other = problems.contradictions
            lines.append(
                f"{problems.rows.name}: {problems.repeated} repeat an earlier problem and are left "
                f"out, {other} of them with another answer"
            )
        if problems.several:
            lines.append(
                f"{problems.rows.name}: {problems.several} problems have several right answers, "
                "any of which counts"
            )
        if problems.unanswered:
            lines.append(f"{problems.rows.name}: has no answers, so no response is scored")
        if (experts := self.experts) is not None:
            sizes = [f"{len(self.answers[split])} {split}" for split in SPLITS]
            absent, repeated = int((experts.at < 0).sum()), experts.repeated
            lines.append(
                f"{experts.rows.name}: {len(experts.rows)} answers; {len(self.expert_pairs)} for "
                f"training, {', '.join(sizes)}; {repeated} repeated and left out, {absent} to "
                f"problems that are not in {problems.rows.name}"
            )
            if experts.later:
                lines.append(
                    f"{experts.rows.name}: {experts.later} continue a conversation that is a "
                    f"problem of {problems.rows.name}; the assistant's turns in that problem are "
                    "not imitated"
                )
        return [*lines, *self._faults, *self.tokenizer.notes(), *self._checked, self._statistics()]

    def _tables(self) -> list[Problems | Experts]:
        """The tables of all sources, each once."""
        held_out = [table for table, _ in self.held_out_rows.values()]
        experts = [] if self.experts is None else [self.experts]
        tables: list[Problems | Experts] = [self.problem_rows, *experts, *held_out]
        found: dict[tuple[str, str], Problems | Experts] = {}
        for table in tables:
            found.setdefault((table.rows.name, str(table.fields.reading)), table)
        return list(found.values())

    @property
    def unanswered(self) -> str | None:
        """Why the training problems have no right answers; None if they have."""
        return self.problem_rows.unanswered

    def fit(self, room: Room) -> None:
        """Refuse rows that do not fit the context, or drop them, as `data.overlong` says.

        Raises ConfigError naming file and line if a row can't be written in tokens, or if an
        expert's response can't be read back from them.
        """
        self._checked = self._check_rows()
        self._faults = sift(self._checks(room), self.config.overlong)

    def _check_rows(self) -> list[str]:
        """Check the tokens of all rows, or of a sample and the others later; say which."""
        parts = [(self.problem_rows, self.rl), *self.held_out_rows.values()]
        counts = {"prompts": (0, 0), "expert answers": (0, 0)}
        for table in {id(table): table for table, _ in parts}.values():
            used = np.concatenate([rows for other, rows in parts if other is table])
            done, total = counts["prompts"]
            counts["prompts"] = (done + self._asked[id(table)].begin(used), total + len(used))
        if self._answered is not None:
            used = np.concatenate([self.expert_pairs.rows, *(self.answers[s] for s in SPLITS)])
            counts["expert answers"] = (self._answered.begin(used), len(used))
        said = [
            f"all {total} {name}" if done == total else f"{done} of {total} {name}"
            for name, (done, total) in counts.items()
            if total
        ]
        later = any(done < total for done, total in counts.values())
        when = "; the others are checked when they are drawn" if later else ""
        return [f"tokens checked of {' and '.join(said)}{when}"]

    def _statistics(self) -> str:
        # Rows are in the order of a hash, so the first ones are a random sample.
        prompts = self.tokenizer.prompt
        sampled = {
            "prompts": [
                len(prompts(self.problem_rows.problem(int(row)))) for row in self.rl[:SAMPLE]
            ],
            "expert answers": [
                len(self.tokenizer.response(pair)[0]) for pair in self.expert_pairs[:SAMPLE]
            ],
        }
        return statistics(sampled, (len(self.rl), len(self.expert_pairs)))

    def _checks(self, room: Room) -> Iterator[tuple[str, Checked]]:
        """Each part, reduced to what fits; expert responses first, for `paired`."""
        tokenizer, context = self.tokenizer, f"the model's context of {room.context}"
        whole = "more than {} tokens with their prompts, the model's context"
        if (experts := self.experts) is not None:
            for part in ("train", *SPLITS):
                rows = self.expert_pairs.rows if part == "train" else self.answers[part]
                checked = fitting_answers(tokenizer, experts, rows, room.context, whole)
                self._keep_answers(part, checked.rows)
                yield ("answers" if part == "train" else "held-out answers"), checked
        for part in ("train", *SPLITS):
            name, length = ("evaluation", room.evaluation) if part in SPLITS else (
                "rollout", room.rollout
            )  # fmt: skip
            problems, rows = (
                self.held_out_rows[part] if part in SPLITS else (self.problem_rows, self.rl)
            )
            why = f"more than {{}} tokens, {context} less {name}.max_new_tokens={length}"
            checked = fitting_prompts(tokenizer, problems, rows, room.context - length, why)
            self._keep_problems(part, checked.rows)
            yield "prompts", checked

    def _keep_answers(self, part: str, rows: Numbers) -> None:
        """Keep only these rows of a part's expert responses."""
        if part != "train":
            self.answers[part] = rows
        elif len(rows) < len(self.expert_pairs):
            self.expert_pairs = self._pairs(rows)
            if len(rows):
                self._take_problems()

    def _keep_problems(self, part: str, rows: Numbers) -> None:
        """Keep only these rows of a part's problems."""
        if part == "train":
            self.rl = rows
        else:
            self.held_out_rows[part] = (self.held_out_rows[part][0], rows)

    def _pairs(self, rows: Numbers) -> Lazy[Pair]:
        return Lazy(rows, self._answered or _no_pair)

    def _pair(self, row: int) -> Pair:
        assert self.experts is not None, "there is no expert"
        pair = self.experts.pair(row)
        return replace(pair, problem=as_written(pair.problem, self.tokenizer))

    def _problem(self, table: Problems, row: int) -> Problem:
        return as_written(table.problem(row), self.tokenizer)

    def _take_experts(self) -> None:
        """The expert responses that are trained on: as many as configured."""
        wanted, rows = self.config.expert_pairs, self.answers["train"]
        if self.experts is None:
            rows = rows[:0]
        elif len(rows) == 0 or (wanted is not None and wanted > len(rows)):
            name = "null" if self.config.expert is None else shown(self.config.expert)
            raise ConfigError(
                f"data.expert={name}: has {len(rows)} answers to training problems; "
                f"data.expert_pairs={'null' if wanted is None else wanted} asks for "
                f"{'at least 1' if wanted is None else 'more'}"
            )
        self.expert_pairs = self._pairs(rows[:wanted])

    def _take_problems(self) -> None:
        """The rows of the RL problems."""
        pairing, problems = self.config.pairing, self.problem_rows
        answered = np.zeros(0, dtype=np.int64)
        if self.experts is not None:
            answered = self.experts.keys[self.expert_pairs.rows]
        has = np.isin(problems.keys[self.train], answered)
        self.rl = self.train[{"all": has | True, "separate": ~has, "paired": has}[pairing]]
        if len(self.rl) == 0:
            which = {"separate": " without", "paired": " with"}.get(pairing, "")
            raise ConfigError(
                f"data.pairing={pairing}: {problems.rows.name} has no training problem"
                f"{which and which + ' an expert answer'}; must be one of all, separate, paired, "
                "where there are such problems"
            )


def _no_pair(row: int) -> Pair:
    raise AssertionError("there is no expert")
