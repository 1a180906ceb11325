"""Repeat a train step whose gradient was not finite: `python -m chord.replay RUN`.

A run keeps the rows of such a step in its directory, with the weights from before the step. The
rows are computed again, one at a time, and the first number that is not finite is named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chord.command_line.arguments import Arguments
from chord.command_line.ending import ending
from chord.io.printing import say
from chord.io.signs import Signs

if TYPE_CHECKING:
    from rich.table import Table

    from chord.step.nonfinite.cause import RowTrace


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = Arguments("replay", __doc__)
    options.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    options.add_argument(
        "--all", action="store_true", help="show every row, not only those that are not finite"
    )
    options.add_argument(
        "--trust",
        action="store_true",
        help="allow the code, servers and places to write to that a run from elsewhere names",
    )
    return options


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `chord-replay`."""
    options = parser().parse_args(arguments)
    with Signs("repeating the step").shown():
        replay(options.run, everything=options.all, trust=options.trust)


def replay(path: Path, *, everything: bool = False, trust: bool = False) -> None:
    """Print the cause and the rows; raises ConfigError where the run keeps no such step."""
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    import torch
    from rich.console import Console

    from chord.models.checkpoints import load_weights
    from chord.run.build import build_data, build_models, check_models
    from chord.run.opening import configuration
    from chord.run.places import require_run
    from chord.step.demonstrations import open_cache
    from chord.step.nonfinite.cause import find_cause
    from chord.step.nonfinite.saved import FILE, load_step

    require_run(path, str(path))
    step, weights = load_step(path)
    config = configuration(path, trust=trust)
    torch.set_num_threads(config.threads)
    data = build_data(config)
    try:
        models = build_models(config)
        check_models(config, models, data)
        models.cache = open_cache(config, data)
    finally:
        data.close()
    load_weights(models.policy, weights, str(path), path / FILE)
    with config.trainer.computing(torch.device("cpu")):
        cause, traces = find_cause(models, config, step)
    say(f"step {step.number}, learning rate {step.facts.get('lr', float('nan')):g}")
    say(f"then: {step.facts.get('cause')}")
    say(f"now:  {cause}")
    wrong = [trace for trace in traces if trace.wrong]
    if traces:
        say(f"{len(wrong)} of {len(traces)} rows are not finite")
    shown = traces if everything else wrong
    if shown:
        Console(file=sys.stdout, highlight=False).print(_table(shown))


def _table(traces: Sequence[RowTrace]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for name in ("branch", "row", "tokens", "loss", "gradient's norm"):
        table.add_column(name, justify="left" if name == "branch" else "right")
    table.add_column("not finite")
    for trace in traces:
        norm = "-" if trace.norm is None else f"{trace.norm:.4g}"
        table.add_row(
            trace.branch, str(trace.row), str(trace.tokens), f"{trace.loss:.4g}", norm,
            Text(trace.wrong),
        )  # fmt: skip
    return table
