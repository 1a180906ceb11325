"""Estimate what a run needs before it starts: `python -m chord.plan [SETTING ...]`.

Takes a few steps of the configured run and one small evaluation, and keeps nothing. Prints the
memory by part, the disk that checkpoints take, and the time of a step, of an evaluation and of the
whole run. The settings are those of chord.train: python -m chord.plan experiment=smollm2 steps=200.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from chord.command_line.arguments import Arguments, Number
from chord.command_line.ending import ending
from chord.distributed.launch import leads
from chord.io.signs import Signs

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.plan.calibration import Calibration
    from chord.plan.duration import Duration
    from chord.plan.memory import Part

LIBRARIES = "Python and libraries"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = Arguments("plan", __doc__)
    options.add_argument(
        "--steps",
        action=Number,
        whole=True,
        least=1,
        default=2,
        metavar="N",
        help="number of steps to time, after a first one (default: 2)",
    )
    options.add_settings("GROUP=OPTION, KEY=VALUE")
    return options


@dataclass
class Requirements:
    """Memory and disk by part, and the time for each assumed length of the responses."""

    parts: list[Part]
    disk: list[Part]
    times: dict[str, Duration]


@ending()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run `chord-plan`."""
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    from chord.config.composing import composed, register
    from chord.run.fork.model import register_sources

    began = time.perf_counter()
    options = parser().parse_intermixed_args(arguments)
    register()
    register_sources()
    config = composed(options.settings, options.config_dir)
    leader = leads(config.trainer.strategy)
    with Signs("timing the start of the run and its steps" if leader else "").shown():
        found = estimate(config, options.steps, began=began)
    if leader:
        show(found, config)


def estimate(config: TrainConfig, steps: int, *, began: float) -> Requirements:
    """Estimate what the configured run needs; `began` is when its start began."""
    import torch

    torch.set_num_threads(config.threads)
    from chord.plan import disk, memory
    from chord.plan.calibration import answers, calibrate

    importlib.import_module("lightning.pytorch")
    libraries = resident()
    found = calibrate(config, steps, began=began)
    validation = answers(found.data, config.evaluation, "val") if config.data.validates else 0
    last = answers(found.data, config.evaluation, "test" if config.evaluation.test else "val")
    return Requirements(
        [memory.Part(LIBRARIES, libraries), *sizes(config, found, last)],
        disk.of_checkpoints(config, found.models.policy),
        times(config, found, validation, last),
    )


def sizes(config: TrainConfig, found: Calibration, last: int) -> list[Part]:
    """Return all parts of the memory but the libraries.

    `last`: number of responses of the last evaluation.
    """
    from chord.plan import memory

    policy, rollout, trainer = found.models.policy, config.rollout, config.trainer
    parts, prompt = memory.of_models(config, found.models), found.data.longest_prompt
    if found.rollouts is not None:
        rows = ceil(rollout.problems / trainer.processes) * rollout.group_size
        rows = min(rows, rollout.rows_at_a_time)
        parts += memory.of_sampling(policy, rows, prompt + rollout.max_new_tokens)
    batches = [batch for batch in (found.rollouts, found.experts) if batch is not None]
    parts += memory.of_training(policy, batches, trainer.micro_batch)
    rows = min(ceil(last / trainer.processes), rollout.rows_at_a_time)
    length = prompt + config.evaluation.max_new_tokens
    parts += memory.of_sampling(policy, rows, length, when=memory.EVALUATION)
    if found.held_out is not None:
        parts.append(memory.of_scoring(policy, found.held_out, trainer.micro_batch))
    base = memory.weights(config.model.reference(policy))
    return [*parts, memory.Part("base, evaluated at the end", base, memory.EVALUATION)]


def times(
    config: TrainConfig, found: Calibration, validation: int, last: int
) -> dict[str, Duration]:
    """Return the time for each assumed length of the responses.

    `validation`, `last`: number of responses of a validation and of the last evaluation.
    """
    from chord.plan.duration import duration, expert_length

    of = partial(duration, config, found, validation=validation, last=last)
    length = expert_length(found)
    if length is None:
        return {"": of()}
    return {
        "at the base's length": of(),
        f"at the expert's ({length:.2g} x)": of(length=length),
    }


def resident() -> int:
    """Return the peak resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(found: Requirements, config: TrainConfig) -> None:
    """Print the three tables."""
    from rich.console import Console
    from rich.table import Table

    from chord.plan.memory import ALWAYS, peak

    console = Console(highlight=False)
    table = Table(title="memory", box=None, title_justify="left", padding=(0, 2))
    table.add_column("part")
    table.add_column("phase")
    table.add_column("MB", justify="right")
    for part in found.parts:
        when = "" if part.when == ALWAYS else part.when
        name = part.name.removesuffix(f" ({part.when})")
        table.add_row(name, when, f"{part.size / 1e6:,.0f}")
    highest = peak(found.parts, reused=config.trainer.device().type == "cuda") / 1e6
    table.add_row("[bold]peak[/]", "", f"[bold]{highest:,.0f}[/]")
    console.print(table)
    table = Table(title="disk, for checkpoints", box=None, title_justify="left", padding=(0, 2))
    table.add_column("part")
    table.add_column("MB", justify="right")
    for part in found.disk:
        table.add_row(part.name, f"{part.size / 1e6:,.0f}")
    console.print(table)
    table = Table(title="time, in seconds", box=None, title_justify="left", padding=(0, 2))
    table.add_column("part")
    for name in found.times:
        table.add_column(name, justify="right")
    for name, field in (
        ("until the first step", "start"),
        ("sampling and rewards", "rollout"),
        ("losses and gradients", "loss"),
        ("optimizer", "update"),
        ("[bold]a step[/]", "step"),
        ("a validation", "validation"),
        (f"[bold]the run, {config.steps} steps[/]", "run"),
    ):
        values = [getattr(duration, field) for duration in found.times.values()]
        table.add_row(name, *(f"{v:,.2f}" if v < 100 else f"{v:,.0f}" for v in values))
    console.print(table)
    if config.trainer.processes > 1:
        console.print("per process; each takes its share of the rows")


if __name__ == "__main__":
    main()
