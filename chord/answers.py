"""Show a run's responses by problem and step: `python -m chord.answers RUN`.

By default, those that the policy sampled during training, as far as the run recorded them (see
`trainer.completions_every`). With --evaluated, --lost or --gained, the greedy responses of base and
trained model in an evaluation that `python -m chord.evaluate RUN` has saved; without any, those of
the first problems of the run's own last evaluation.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from chord.command_line.arguments import Arguments, Number
from chord.command_line.ending import ending
from chord.errors import ConfigError
from chord.io.printing import say
from chord.run.evaluated import EVALUATED
from chord.run.files import COMPLETIONS, SAMPLES, lines
from chord.run.places import require_run

Row = dict[str, Any]


class Steps:
    """The train steps of `12`, or of `10..20`, both included; raises ConfigError for other text."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text, re.ASCII)
        self.first, self.last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if self.first > self.last:
            raise ConfigError(
                f"--step {text}: must be a whole number, at least 0, or two of them, as in 10..20"
            )

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and self.first <= step <= self.last


TRAIN, *EVALUATIONS = SPLITS = ("train", "val", "test")
ORDERS: dict[str, Callable[[Row], float]] = {
    "longest": lambda row: -len(_texts(row)[-1]),
    "shortest": lambda row: len(_texts(row)[-1]),
    "best": lambda row: -_number(row, "reward", *_scores("trained")),
    "worst": lambda row: _number(row, "reward", *_scores("trained")),
}
"""What is shown first; in the order of the file otherwise."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = Arguments("answers", __doc__)
    options.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    which = options.add_mutually_exclusive_group()
    which.add_argument(
        "--evaluated", nargs="?", const="", metavar="NAME",
        help="a saved evaluation, such as test-120-1a2b3c4d; without a name, the latest",
    )  # fmt: skip
    which.add_argument("--lost", action="store_true", help="right before training, wrong now")
    which.add_argument("--gained", action="store_true", help="wrong before training, right now")
    options.add_argument("--split", choices=SPLITS, help="of training, or the latest evaluation of")
    options.add_argument("--step", metavar="STEP[..LAST]", help="of one train step, or from 10..20")
    options.add_argument(
        "--problem", action=Number, whole=True, metavar="KEY", help="of one problem"
    )
    options.add_argument("--find", metavar="TEXT", help="with a text in problem or response")
    options.add_argument("--cut-off", action="store_true", help="without their end token")
    options.add_argument("--order", choices=ORDERS, help="what is shown first; default: by step")
    options.add_argument("--n", action=Number, whole=True, least=1, default=10, help="at most")
    options.add_argument("--json", action="store_true", help="the rows as JSON lines")
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `chord-answers`."""
    options = parser().parse_args(arguments)
    options.step = None if options.step is None else Steps(options.step)
    require_run(options.run, str(options.run))
    saved = options.evaluated is not None or options.lost or options.gained
    if saved and options.split == TRAIN:
        raise ConfigError("--split train: is of responses during training; leave it out")
    saved = saved or options.split in EVALUATIONS
    if saved and options.step is not None:
        raise ConfigError("--step: is of responses during training; leave it out")
    path = evaluation(options.run, options) if saved else options.run / COMPLETIONS
    shown = chosen((row for _, row in lines(path)), options)
    if options.json:
        for row in shown:
            # In ASCII, so that no text in it commands a terminal.
            say(json.dumps(row))
        return
    for row in shown:
        say("\n".join(_lines(row)) + "\n")
    if shown:
        say(f"{len(shown)} of the responses in {path}")
        return
    # Of the run's own evaluation, only those of a few problems are kept.
    hint = f"; python -m chord.evaluate {options.run} saves all" if path.name == SAMPLES else ""
    say(f"{path}: no such response{hint}")


def evaluation(run: Path, options: argparse.Namespace) -> Path:
    """The responses of a run's saved evaluation, or without any of its own last one.

    Raises ConfigError where it is not there.
    """
    name, pattern = options.evaluated, f"{options.split or '*'}-*.jsonl"
    found = sorted((run / EVALUATED).glob(pattern), key=lambda file: file.stat().st_mtime)
    if not found and not name and (run / SAMPLES).exists():
        return run / SAMPLES
    if not found:
        of = f" of {options.split}" if options.split else ""
        raise ConfigError(f"{run}: no evaluation{of} is saved; python -m chord.evaluate saves one")
    if not name:
        return found[-1]
    if name not in (names := [file.stem for file in found]):
        raise ConfigError(f"--evaluated {name}: must be one of {', '.join(names)}")
    return run / EVALUATED / f"{name}.jsonl"


def chosen(rows: Iterable[Row], options: argparse.Namespace) -> list[Row]:
    """The rows that are asked for, of a file that may be large."""
    wanted = (row for row in rows if _wanted(row, options))
    if options.order is None:
        return list(islice(wanted, options.n))
    order = ORDERS[options.order]
    return heapq.nsmallest(options.n, wanted, key=lambda row: (math.isnan(order(row)), order(row)))


def _wanted(row: Row, options: argparse.Namespace) -> bool:
    if options.lost or options.gained:
        before, now = (_number(row, *_scores(model)) for model in ("base", "trained"))
        if not (before < 1 <= now if options.gained else now < 1 <= before):
            return False
    if "split" in row and options.split not in (None, row["split"]):
        return False
    if options.step is not None and row.get("step") not in options.step:
        return False
    finished = row.get("trained_finished" if "trained" in row else "finished")
    if options.cut_off and finished is not False:
        return False
    if options.problem is not None and row.get("key") != options.problem:
        return False
    return not options.find or any(options.find in text for text in _texts(row))


def _texts(row: Row) -> list[str]:
    """The problem, and the response or both responses."""
    names = ("problem", "base", "trained") if "trained" in row else ("problem", "response")
    return [text for name in names if isinstance(text := row.get(name), str)] or [""]


def _number(row: Row, *names: str) -> float:
    """The first of these numbers that a row has; if it has none nan, neither right nor wrong."""
    found = (value for name in names if isinstance(value := row.get(name), int | float))
    try:
        return float(next(found, math.nan))
    except OverflowError:  # a whole number of hundreds of digits, which chord never writes
        return math.nan


def _scores(model: str) -> tuple[str, str]:
    """What holds the score of a model's response: in a saved evaluation, and in the run's own."""
    return f"{model}_score", f"{model}_right"


def _lines(row: Row) -> Iterator[str]:
    """A row for the terminal."""
    known = [f"problem {row['key']}"] if "key" in row else []
    if "trained" in row:
        yield from known
        yield _labelled("problem", row.get("problem"))
        yield _labelled("answer", row.get("answer"))
        for model in ("base", "trained"):
            cut = ", cut off" if row.get(f"{model}_finished") is False else ""
            score = next((row[name] for name in _scores(model) if name in row), None)
            yield _labelled(f"{model}, {_shown(score)}{cut}", row.get(model))
        return
    facts = [f"step {row.get('step')}", *known]
    facts += [
        f"{name} {_shown(row[name])}" for name in ("score", "reward", "advantage") if name in row
    ]
    if row.get("finished") is False:
        facts.append("cut off")
    if "tokens" in row:
        facts.append(f"{row['tokens']} tokens")
    yield ", ".join(facts)
    yield _labelled("problem", row.get("problem"))
    yield _labelled("answer", row.get("answer"))
    if row.get("given"):
        yield _labelled("of it given", row["given"])
    yield _labelled("response", row.get("response"))


def _labelled(label: str, text: Any) -> str:
    """A text with its label, its lines below one another."""
    pieces = ("" if text is None else str(text)).split("\n")
    return "\n".join(
        f"  {f'{label} ' if k == 0 else '':<14}{piece}" for k, piece in enumerate(pieces)
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "right" if value else "wrong"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
