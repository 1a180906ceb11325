"""Let a model write expert responses: `python -m chord.make_expert --to FILE`.

The model responds to the problems of the data. Responses that the reward scores as right are
written, one per row. An existing file is continued after its last row. The settings are those of
chord.train:

  python -m chord.make_expert --to e.jsonl --n 500 model=hf model.path=DIR \\
      data=reasoning_gym data.task=chain_sum
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from chord.command_line.arguments import Arguments, Number, flags, refuse_input, refuse_output
from chord.command_line.ending import ending
from chord.config.composing import composed, register
from chord.config.overrides import typed
from chord.data.nested import value_of
from chord.data.template import values_of
from chord.errors import ConfigError
from chord.io.locking import sole_writer
from chord.io.printing import say
from chord.io.reading import parse_json
from chord.io.signs import Signs
from chord.rollout import draw_uniforms

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.batch import Problem
    from chord.data.columns import Columns
    from chord.data.corpus import Corpus
    from chord.models.policy import Policy
    from chord.rollout.engines import Engine

# Defaults that differ from chord.train's, because nothing is imitated or tracked.
_DEFAULTS = {"schedule": "rl_only", "teacher": "none", "tracking": "off"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("make_expert", __doc__)
    options.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="the .jsonl file to write"
    )
    for name, default, what in (
        ("n", None, "stop when N problems have a right response (default: try all)"),
        ("k", 4, "samples per problem (default: 4)"),
        ("keep", 1, "right responses to keep per problem (default: 1)"),
    ):
        options.add_argument(
            f"--{name}", action=Number, whole=True, least=1, default=default, help=what
        )
    options.add_settings("model=..., data=..., ...")
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `python -m chord.make_expert`."""
    options = parser().parse_intermixed_args(arguments)
    if options.to.suffix != ".jsonl":
        raise ConfigError(f"--to {options.to}: must end in .jsonl")
    refuse_output(options.to, f"--to {options.to}")
    say(
        make_expert(
            options.to, options.settings, options.n, options.k, options.keep, options.config_dir
        )
    )


@dataclass
class Demonstrator:
    """A model that responds to problems, and the reward that checks its responses.

    The random numbers depend only on the seed, the problem and the sample, so a response does not
    depend on which other problems are sampled.
    """

    config: TrainConfig
    data: Corpus
    policy: Policy
    engine: Engine

    def right(self, problems: Sequence[Problem], k: int) -> list[list[str]]:
        """Draw `k` samples per problem; return the distinct right ones of each, in order."""
        longest, tokenizer = self.config.rollout.max_new_tokens, self.data.tokenizer
        samples = self.engine.sample(
            self.policy,
            [tokenizer.prompt(problem) for problem in problems],
            group_size=k,
            limits=[longest] * len(problems),
            uniforms=draw_uniforms(
                self.config.seed,
                0,
                keys=[problem.key for problem in problems],
                group_size=k,
                max_new_tokens=longest,
            ),
        )
        texts = [tokenizer.decode(ids) for ids in samples.responses]
        asked = [problem for problem in problems for _ in range(k)]
        lengths = [len(ids) for ids in samples.responses]
        grades = self.config.reward.grade(asked, texts, lengths, samples.finished)
        found: list[list[str]] = []
        for start in range(0, len(texts), k):
            rows = zip(texts[start : start + k], grades[start : start + k], strict=True)
            right = [text for text, grade in rows if grade.score >= 1 and text.strip()]
            found.append(list(dict.fromkeys(right)))
        return found


def make_expert(
    path: Path,
    settings: Sequence[str],
    n: int | None,
    k: int,
    keep: int,
    config_dir: Path | None = None,
) -> str:
    """Go through the problems in the order of their keys; return the text to print.

    Up to `keep` right ones of `k` samples per problem are written, until `n` problems have one.
    """
    named, config = f"--to {path}", _configured(settings, config_dir)
    refuse_input(path, named, config)
    signs = Signs("loading the data and the model")
    with sole_writer(path, named) as file, signs.shown(), _teacher(config) as teacher:
        answered, start = _begun(path, file, teacher.data)
        tried, added = 0, 0
        for batch in _batches(teacher, start):
            if n is not None and answered >= n:
                break
            signs.now("sampling", f"{tried} problems tried, {answered} have a right response")
            for problem, texts in zip(batch, teacher.right(batch, k), strict=True):
                if n is not None and answered >= n:
                    break
                tried, answered = tried + 1, answered + bool(texts)
                rows = [_row(teacher, problem, text) for text in texts[:keep]]
                added += len(rows)
                file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
            file.flush()
    given = shlex.join([*flags(config_dir), *settings])
    return (
        f"{path}: {answered} problems with a right response; {tried} problems tried now, "
        f"{added} responses written\n"
        f"python -m chord.train {given} {typed('data.expert', path)}"
    )


def _configured(settings: Sequence[str], config_dir: Path | None) -> TrainConfig:
    """The configuration of `chord.train` with these settings, but for `_DEFAULTS`."""
    given = {setting.partition("=")[0] for setting in settings}
    defaults = [f"{name}={value}" for name, value in _DEFAULTS.items() if name not in given]
    if not any(name.startswith("trainer") for name in given):
        defaults.append("trainer.accelerator=auto")
    register()
    return composed([*defaults, *settings], config_dir)


@contextmanager
def _teacher(config: TrainConfig) -> Iterator[Demonstrator]:
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    import torch

    from chord.data.corpus import Corpus
    from chord.run.build import check_answers, fit_data, open_data, placed, prepare_reward
    from chord.step.engine import open_engine

    torch.set_num_threads(config.threads)
    with open_data(config) as data:
        if not isinstance(data, Corpus):
            raise ConfigError(
                "data=testbed: already has its own expert; use data=jsonl or data=reasoning_gym"
            )
        policy = config.model.build()
        fit_data(config, data, policy)
        prepare_reward(config, data)
        check_answers(config, data)
        with (
            placed(config, config.trainer.device(), policy),
            closing(open_engine(config, data, policy)) as engine,
        ):
            yield Demonstrator(config, data, policy, engine)


def _begun(path: Path, file: BinaryIO, data: Corpus) -> tuple[int, int]:
    """The number of problems that have a response in the file, and the position to continue at.

    Raises `ConfigError` where it holds anything but rows such as `_row` makes.
    """
    from chord.data.lines import JsonLines
    from chord.data.tables import Problems

    file.seek(0)
    content, columns = file.read(), data.expert_fields.columns
    end = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:end].splitlines(), start=1):
        if not _is_row(line, columns):
            raise ConfigError(
                f"--to {path}: line {number} is no problem with an expert's response, so the file "
                "is not continued; give another file"
            )
    rest = content[end:]
    if rest and _is_row(rest, columns):
        file.write(b"\n")
    elif rest and not _begins_row(rest, columns):
        raise ConfigError(
            f"--to {path}: does not end with a problem and an expert's response, so the file is "
            "not continued; give another file"
        )
    elif rest:
        # A killed run has left a part of its last row.
        file.truncate(end)
    file.flush()
    rows = JsonLines(path)
    if len(rows) == 0:
        return 0, 0
    written = Problems(rows, data.expert_fields)
    last = int(written.keys[-1])
    place = data.place_of(last)
    if place is None:
        raise ConfigError(f"--to {path}: its last row belongs to a problem that is not in the data")
    return len(written.first), place + 1


def _is_row(line: bytes, columns: Columns) -> bool:
    """Whether a line has a response, in a field of its own or as the last of its messages."""
    try:
        row = parse_json(line)
    except ValueError:
        return not line.strip()
    if not isinstance(row, dict):
        return False
    said = value_of(row, columns.messages or "messages")
    last = said[-1] if isinstance(said, list) and said else None
    return value_of(row, columns.response or "response") is not None or (
        isinstance(last, dict) and last.get("role") == "assistant"
    )


def _begins_row(text: bytes, columns: Columns) -> bool:
    """Whether a text can be the beginning of a row."""
    names = (columns.problem or "problem", columns.messages or "messages")
    starts = [b"{" + orjson.dumps(name) for name in names]
    return any(text.startswith(start) or start.startswith(text) for start in starts)


def _batches(teacher: Demonstrator, start: int) -> Iterator[list[Problem]]:
    every, size = teacher.data.every(), teacher.config.rollout.problems
    for begin in range(start, len(every), size):
        yield every[begin : begin + size]


def _row(teacher: Demonstrator, problem: Problem, text: str) -> dict[str, Any]:
    """A row of the expert file, with the problem as in its source, before any template."""
    data, names = teacher.data, teacher.data.expert_fields.columns
    turns = data.problem_rows.fields.asked_turns(problem.details)
    template = data.config.prompt_template
    row: dict[str, Any] = {names.answer or "answer": [problem.answer, *problem.others]}
    if not problem.others:
        row = dict.fromkeys(row, problem.answer)
    row |= values_of(template, problem.details)
    if len(turns) == 1:
        asked = {names.problem or "problem": turns[0].content}
        return asked | row | {names.response or "response": text}
    said = [{"role": turn.role, "content": turn.content} for turn in turns]
    return {names.messages or "messages": [*said, {"role": "assistant", "content": text}], **row}


if __name__ == "__main__":
    main()
