"""Text data: problems, expert responses and held-out data, read from files when needed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chord.data.base import SPLITS, Data, Room
from chord.data.batch import Pair, Problem, Tokenizer
from chord.data.fields import Fields
from chord.data.files import shown
from chord.data.lengths import Checked, sift
from chord.data.parts import Parts
from chord.data.statistics import Lengths
from chord.data.tables import Experts, Lazy, Numbers, Problems
from chord.data.text import TextConfig
from chord.data.tokenised import Part, Tokenised
from chord.errors import ConfigError


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
        self.left_out: list[str] = []
        """Which rows do not fit the context, in sentences."""
        self._tokenise()
        self._take_experts()
        self._take_problems()

    def hold_out(self, split: str, table: Problems) -> int:
        """Let all problems of a table take the place of a split, before anything is read.

        Returns how many of them are trained on.
        """
        self.held_out_rows[split] = table, table.first
        if self.experts is not None:
            order = self.experts.order
            self.answers[split] = order[np.isin(self.experts.keys[order], table.keys)]
        pairs = self.expert_pairs.rows
        self._tokenise()
        self.expert_pairs = self.tokens.pairs(pairs)
        return int(self.trains_on(table.keys[table.first]).sum())

    def _tokenise(self) -> None:
        """Make the tokens of the tables that there are."""
        held_out = [table for table, _ in self.held_out_rows.values()]
        self.tokens = Tokenised(self.tokenizer, self.problem_rows, self.experts, held_out)

    @property
    def longest_prompt(self) -> int:
        """Length of the longest prompt in any part: of conversations and the largest texts."""
        return self.tokens.longest_prompt(self._parts())

    @property
    def longest_pair(self) -> int:
        """Length of the longest expert response with its prompt, found in the same way."""
        return self.tokens.longest_pair(self.expert_pairs.rows)

    def _parts(self) -> list[Part]:
        """The problems that are used, part by part."""
        return [(self.problem_rows, self.rl), *self.held_out_rows.values()]

    def read_experts(self) -> Iterator[tuple[Pair, list[int], list[bool]]]:
        """As in `Data`; each row's tokens are made, and checked, once."""
        return self.tokens.read(self.expert_pairs.rows)

    def where(self, place: int) -> str | None:
        """The file and line of an expert demonstration."""
        assert self.experts is not None, "there is no expert"
        return self.experts.rows.where(int(self.expert_pairs.rows[place]))

    def lengths(self) -> Lengths:
        """Lengths of the prompts and responses that were checked at the start."""
        self._check_rows()
        asked = self.tokens.prompts(self.problem_rows)
        prompts, pairs = np.intersect1d(asked.begun, self.rl), self.expert_pairs.rows
        if len(pairs):
            pairs = np.intersect1d(self.tokens.answers.begun, pairs)
        return Lengths(
            prompts=[asked.length(int(row)) for row in prompts],
            responses=[self.tokens.answers.length(int(row)) for row in pairs],
            wholes=[self.tokens.whole_length(int(row)) for row in pairs],
            of_prompts=len(self.rl),
            of_responses=len(self.expert_pairs),
        )

    def held_out_lengths(self) -> Lengths:
        """Lengths of the held-out prompts and responses that were checked at the start."""
        self._check_rows()
        prompts: list[int] = []
        for problems, rows in self.held_out_rows.values():
            asked = self.tokens.prompts(problems)
            prompts += [asked.length(int(row)) for row in np.intersect1d(asked.begun, rows)]
        pairs = every = np.concatenate([self.answers[split] for split in SPLITS])
        if len(pairs):
            pairs = np.intersect1d(self.tokens.answers.begun, pairs)
        return Lengths(
            prompts=prompts,
            responses=[self.tokens.answers.length(int(row)) for row in pairs],
            wholes=[self.tokens.whole_length(int(row)) for row in pairs],
            of_prompts=sum(len(rows) for _, rows in self.held_out_rows.values()),
            of_responses=len(every),
        )

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
        read = self.tokens.prompts(self.problem_rows)
        return [read(int(self.rl[place])) for place in drawn]

    def held_out(self, split: str) -> Sequence[Problem]:
        """The problems of `validation` or `test`, in the order of their keys, which is random."""
        problems, rows = self.held_out_rows[split]
        return Lazy(rows, self.tokens.prompts(problems))

    def held_out_pairs(self, split: str) -> Sequence[Pair]:
        """The expert responses to held-out problems; there may be none."""
        return self.tokens.pairs(self.answers[split])

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
        return Lazy(self._every(), self.tokens.prompts(self.problem_rows))

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
        """Which of the keys (N,) belong to RL problems or to problems that the expert answers."""
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
        self._check_answers(self._parts(), check)

    def check_split(self, split: str, check: Callable[[Problem], None]) -> None:
        """`check`, of the problems of a split alone."""
        self._check_answers([self.held_out_rows[split]], check)

    def _check_answers(self, parts: Sequence[Part], check: Callable[[Problem], None]) -> None:
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

    def sources(self) -> list[str]:
        """Each source with its rows, and what its columns are to the run."""
        return [table.fields.understood(table.rows, table.there) for table in self._tables()]

    def report(self) -> list[str]:
        """What the files contain, and what of it is used or not."""
        problems, lines = self.problem_rows, []
        sizes = [f"{len(self.held_out_rows[split][1])} {split}" for split in SPLITS]
        for table in self._tables():
            if table.rows.within:
                lines.append(f"{table.rows.name}: rows read from its list {table.rows.within}")
            if table.fields.reading is not None:
                lines.append(f"{table.rows.name} {table.fields.reading.said(table.there)}")
        line = f"{problems.rows.name}: {problems.counted}"
        lines.append(f"{line}; {len(self.train)} for training, {', '.join(sizes)}")
        for split, (table, _) in self.held_out_rows.items():
            if table is not problems and (shared := np.isin(problems.keys, table.keys).sum()):
                lines.append(
                    f"{problems.rows.name}: {shared} rows are also in {table.rows.name}, and only "
                    f"used for {split}"
                )
        if problems.several:
            lines.append(
                f"{problems.rows.name}: {problems.several} problems have several right answers, "
                "any of which counts"
            )
        if problems.lacking:
            lines.append(f"{problems.rows.name}: {problems.lacking}")
        if (experts := self.experts) is not None:
            sizes = [f"{len(self.answers[split])} {split}" for split in SPLITS]
            absent, repeated = experts.absent, experts.repeated
            lines.append(
                f"{experts.rows.name}: {len(experts.rows)} responses; {len(self.expert_pairs)} for "
                f"training, {', '.join(sizes)}; {repeated} repeated and left out, {absent} to "
                f"problems that are not in {problems.rows.name}"
            )
            if 2 * absent > len(experts.rows):
                lines.append(
                    f"warning: {experts.rows.name}: {absent} of {len(experts.rows)} responses are "
                    f"to problems that are not in {problems.rows.name}; if they are meant to be, "
                    "the texts of the two files differ, or data.columns names another field"
                )
            if experts.later:
                lines.append(
                    f"{experts.rows.name}: {experts.later} continue a conversation that is a "
                    f"problem of {problems.rows.name}; the assistant's turns in that problem are "
                    "not imitated"
                )
        self._check_rows()
        return [*lines, *self.left_out, *self.tokenizer.notes(), self.tokens.checked]

    def _tables(self) -> list[Problems | Experts]:
        """The tables of all sources, each once."""
        held_out = [table for table, _ in self.held_out_rows.values()]
        experts = [] if self.experts is None else [self.experts]
        tables: list[Problems | Experts] = [self.problem_rows, *experts, *held_out]
        found: dict[tuple[str, str], Problems | Experts] = {}
        for table in tables:
            found.setdefault((table.rows.name, str(table.fields.columns)), table)
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
        self._check_rows()
        self.left_out = sift(self._checks(room), self.config.overlong)

    def _check_rows(self) -> None:
        """Check tokens, once: of rows that are there before any is left out."""
        pairs = [self.expert_pairs.rows, *(self.answers[split] for split in SPLITS)]
        self.tokens.begin(self._parts(), np.concatenate(pairs))

    def _checks(self, room: Room) -> Iterator[tuple[str, Checked]]:
        """Each part, reduced to what fits; expert responses first, for `paired`."""
        whole = "more than {} tokens with their prompts, the model's context"
        for part in ("train", *SPLITS) if self.experts is not None else ():
            rows = self.expert_pairs.rows if part == "train" else self.answers[part]
            checked = self.tokens.fitting_answers(rows, room.context, whole)
            self._keep_answers(part, checked.rows)
            yield ("responses" if part == "train" else "held-out responses"), checked
        for part, problems in zip(("train", *SPLITS), self._parts(), strict=True):
            name, length = ("evaluation", room.evaluation) if part in SPLITS else (
                "rollout", room.rollout
            )  # fmt: skip
            why = (
                f"more than {{}} tokens, the model's context of {room.context} less "
                f"{name}.max_new_tokens={length}"
            )
            checked = self.tokens.fitting_prompts(problems, room.context - length, why)
            self._keep_problems(part, checked.rows)
            yield "prompts", checked

    def _keep_answers(self, part: str, rows: Numbers) -> None:
        """Keep only these rows of a part's expert responses."""
        if part != "train":
            self.answers[part] = rows
        elif len(rows) < len(self.expert_pairs):
            self.expert_pairs = self.tokens.pairs(rows)
            if len(rows):
                self._take_problems()

    def _keep_problems(self, part: str, rows: Numbers) -> None:
        """Keep only these rows of a part's problems."""
        if part == "train":
            self.rl = rows
        else:
            self.held_out_rows[part] = (self.held_out_rows[part][0], rows)

    def _take_experts(self) -> None:
        """The expert responses that are trained on: as many as configured."""
        wanted, rows = self.config.expert_pairs, self.answers["train"]
        if self.experts is None:
            rows = rows[:0]
        elif len(rows) == 0 or (wanted is not None and wanted > len(rows)):
            name = "null" if self.config.expert is None else shown(self.config.expert)
            raise ConfigError(
                f"data.expert={name}: has {len(rows)} responses to training problems; "
                f"data.expert_pairs={'null' if wanted is None else wanted} asks for "
                f"{'at least 1' if wanted is None else 'more'}"
            )
        self.expert_pairs = self.tokens.pairs(rows[:wanted])

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
