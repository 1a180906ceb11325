"""What a run will take, before it is started: `python -m chord.plan [SETTING ...]`.

Takes a few steps of the configured run and one small evaluation, keeps nothing, and prints the
memory by part and the time of a step, of an evaluation and of the whole run. Settings are those of
chord.train: python -m chord.plan experiment=smollm2 steps=200.
"""

from __future__ import annotations

import argparse
import importlib
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from chord.exits import readable_errors
from chord.launch import leads

if TYPE_CHECKING:
    from chord.config import TrainConfig
    from chord.plan.calibration import Calibration
    from chord.plan.memory import Part

LIBRARIES = "Python and libraries"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m chord.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--steps", type=int, default=2, metavar="N", help="steps timed after the first (default 2)"
    )
    options.add_argument("settings", nargs="*", help="as for chord.train: GROUP=OPTION, KEY=VALUE")
    return options


@dataclass
class Estimate:
    """Bytes by part, seconds of a step and its parts, of a validation, and of the whole run."""

    parts: list[Part]
    calibration: Calibration
    validation: float
    run: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `chord-plan`."""
    from chord.cli import EXPECTED, stop

    options = parser().parse_args(arguments)
    with readable_errors():
        if options.steps < 1:
            raise ValueError(f"--steps {options.steps}: must be at least 1")
        try:
            config = composed(options.settings)
            found = estimate(config, options.steps)
            if leads(config.trainer):
                show(found, config)
        except EXPECTED as error:
            stop(error)


def composed(settings: Sequence[str]) -> TrainConfig:
    """The checked configuration."""
    from hydra import compose

    from chord.config import TrainConfig, parse, reading_conf, register

    register()
    with reading_conf():
        return parse(compose("train", list(settings)), TrainConfig)


def estimate(config: TrainConfig, steps: int) -> Estimate:
    """Memory and time of the configured run."""
    import torch

    torch.set_num_threads(config.threads)
    from chord.plan import memory
    from chord.plan.calibration import answers, calibrate

    importlib.import_module("lightning.pytorch")
    libraries = resident()
    found = calibrate(config, steps)
    policy, rollout, processes = found.models.policy, config.rollout, config.trainer.processes
    parts = [memory.Part(LIBRARIES, libraries), *memory.of_models(config, found.models)]
    prompt = found.data.longest_prompt
    if found.rollouts is not None:
        rows = ceil(rollout.problems / processes) * rollout.group_size
        rows = min(rows, rollout.rows_at_a_time)
        parts += memory.of_sampling(policy, rows, prompt + rollout.max_new_tokens)
    batches = [batch for batch in (found.rollouts, found.experts) if batch is not None]
    parts += memory.of_training(policy, batches, config.trainer.micro_batch)
    evaluation, length = config.evaluation, prompt + config.evaluation.max_new_tokens
    final = "test" if evaluation.test else "val"
    amounts = [
        answers(found.data, getattr(evaluation, f"{split}_problems"), getattr(evaluation, kept))
        for split, kept in (("val", "val_retained"), (final, f"{final}_retained"))
    ]
    rows = min(ceil(amounts[1] / processes), rollout.rows_at_a_time)
    parts += memory.of_sampling(policy, rows, length, when=memory.EVALUATION)
    base = config.model.reference(policy)
    parts.append(memory.Part("the base, compared at the end", memory.weights(base), "evaluation"))
    validation, last = (amount * found.answer for amount in amounts)
    times = 1 + config.steps // evaluation.every if evaluation.every else 0
    run = config.steps * found.step + times * validation + 2 * last
    return Estimate(parts, found, validation, run)


def resident() -> int:
    """The process's largest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(found: Estimate, config: TrainConfig) -> None:
    """Two tables on the terminal."""
    from rich.console import Console
    from rich.table import Table

    from chord.plan.memory import ALWAYS, peak

    console, seconds = Console(highlight=False), found.calibration
    table = Table(title="memory", box=None, title_justify="left", padding=(0, 2))
    table.add_column("part")
    table.add_column("while")
    table.add_column("MB", justify="right")
    for part in found.parts:
        when = "" if part.when == ALWAYS else part.when
        name = part.name.removesuffix(f" ({part.when})")
        table.add_row(name, when, f"{part.size / 1e6:,.0f}")
    highest = peak(found.parts, reused=config.trainer.device().type == "cuda") / 1e6
    table.add_row("[bold]at its highest[/]", "", f"[bold]{highest:,.0f}[/]")
    console.print(table)
    table = Table(title="time", box=None, title_justify="left", padding=(0, 2))
    table.add_column("part")
    table.add_column("seconds", justify="right")
    for name, value in (
        ("sampling and rewards", seconds.rollout),
        ("losses and gradients", seconds.loss),
        ("optimizer", seconds.update),
        ("[bold]a step[/]", seconds.step),
        ("a validation", found.validation),
        (f"[bold]the run, {config.steps} steps[/]", found.run),
    ):
        table.add_row(name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}")
    console.print(table)
    console.print("with answers as long as the untrained model's")
    if config.trainer.processes > 1:
        console.print("of one process; each takes its share of the rows")


if __name__ == "__main__":
    main()
